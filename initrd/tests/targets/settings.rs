//! Any bytes as the settings of a boot.
//!
//! What must hold: what is read is bounded and the same when it is written and read again, and what is refused is told in few words.

use oneroot_initrd::settings::{LONGEST, MOST_SERVERS, Settings};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Settings>() {
        Ok(settings) => {
            assert!(text.len() <= LONGEST && (1..=MOST_SERVERS).contains(&settings.servers.len()));
            assert_eq!(settings.to_string().parse(), Ok(settings));
        }
        Err(cause) => {
            let told = cause.to_string();
            assert!(told.len() < 1000 && !told.contains(char::is_control), "{told:?}");
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let whole = "boot 0202020202020202\nmachine 01010101010141018101010101010101\nname alpha\nmac 52:54:00:00:00:0a\n\
                 server 192.168.77.1 2049 80\nserver 2001:db8::1 2049 80\nexport /v/ab.02\naddress 192.168.77.10/24 3600\n\
                 router 192.168.77.1\nmtu 9000\nvlan 12\npatience 20\noverlay zram 512m\ninit /sbin/init\nrestart 60\nend\n";
    let cut = whole.replace("end\n", "");
    let least: String = whole
        .lines()
        .filter(|line| !line.starts_with(['a', 'r', 'v']))
        .map(|line| format!("{line}\n"))
        .collect();
    let other = whole.replace("zram 512m", "tmpfs 50%").replace("mtu 9000", "mtu 12");
    [whole.to_owned(), cut, least, other].map(String::into_bytes).to_vec()
}
