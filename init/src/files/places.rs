//! The table `/.oneroot/places`: what is put where, and when. A line is a path below `/.oneroot`, which is also the path below `/`,
//! and a word for when; a path that ends with `/*` is for each name in that directory that no line above it is for.

/// When a file is put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// `always`
    Always,
    /// `systemd`: the real init is systemd.
    Systemd,
    /// `absent`: nothing of that name is there, not even a link.
    Absent,
    /// `nameless`: the file is missing, empty or says `localhost`.
    Nameless,
    /// `no-nameserver`: it has no line `nameserver`.
    NoNameserver,
    /// `added`: the real init is not systemd; the lines come behind the tree's own.
    Added,
}

/// The table.
#[derive(Debug, Default)]
pub struct Places(Vec<(String, When)>);

impl Places {
    /// Out of its text. A line that says nothing known is passed over: it is a newer server's.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(text.lines().filter_map(line).collect())
    }

    /// The paths that it is about, each once; `list` tells the names in a directory below `/.oneroot`.
    pub fn expand(&self, list: impl Fn(&str) -> Vec<String>) -> Vec<(String, When)> {
        let mut all: Vec<(String, When)> = Vec::new();
        for (path, when) in &self.0 {
            let paths = match path.strip_suffix("/*") {
                Some(directory) => list(directory).iter().map(|name| format!("{directory}/{name}")).collect(),
                None => vec![path.clone()],
            };
            for path in paths {
                if !all.iter().any(|(known, _)| *known == path) {
                    all.push((path, *when));
                }
            }
        }
        all
    }
}

fn line(line: &str) -> Option<(String, When)> {
    let mut words = line.split_ascii_whitespace();
    let (path, when) = (words.next()?, words.next()?);
    let when = match when {
        "always" => When::Always,
        "systemd" => When::Systemd,
        "absent" => When::Absent,
        "nameless" => When::Nameless,
        "no-nameserver" => When::NoNameserver,
        "added" => When::Added,
        _ => return None,
    };
    let is_plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    (is_plain && !path.starts_with('#') && words.next().is_none()).then(|| (path.to_owned(), when))
}
