CREATE TABLE machines (
    id      INTEGER PRIMARY KEY,
    mac     TEXT NOT NULL UNIQUE,       -- 52:54:00:00:00:0b, in lower case
    profile TEXT NOT NULL               -- a profile of the site
);
CREATE TABLE workloads (
    machine  INTEGER NOT NULL REFERENCES machines,
    place    INTEGER NOT NULL,          -- the first lies lowest
    workload TEXT NOT NULL,
    PRIMARY KEY (machine, place)
);
CREATE TABLE models (                   -- for machines that the inventory does not have yet
    product TEXT PRIMARY KEY,           -- as SMBIOS says it, "OptiPlex 7080"
    profile TEXT NOT NULL
);
INSERT INTO machines VALUES (1, '52:54:00:00:00:0b', 'kiosk');
INSERT INTO workloads VALUES (1, 1, 'print');
INSERT INTO models VALUES ('OptiPlex 7080', 'kiosk');
