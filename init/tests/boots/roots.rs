//! The root and what is laid over it.

use oneroot_init::kernel::Errno;
use oneroot_init::machine::Over;

use crate::fake::{End, Fake};
use crate::lab::{OTHER, SERVER, SETTINGS, at, failures, file, machine, machine_with};

fn boots(fake: &Fake, seconds: u64) {
    let end = fake.boot(seconds);
    assert!(matches!(end, End::Init(_)), "{end:?}: {}", fake.page());
}

#[test]
fn what_a_server_says_is_told_in_words_and_the_machine_starts_again_when_the_site_says_so() {
    for (errno, said) in [
        (Errno::ACCESS, "192.168.77.1:2049 refused: this address is not alpha's"),
        (Errno::NOENT, "192.168.77.1:2049 has no /v/ab.02: the boot is over"),
        (Errno::NODEV, "6.1.0-56 has no NFS client (nfsv3)"),
        (Errno::INVAL, "192.168.77.1:2049:/v/ab.02 is not mounted: EINVAL"),
    ] {
        let fake = machine();
        fake.state().servers.get_mut(&at(SERVER)).unwrap().mounts = Err(errno);
        assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
        assert!(failures(&fake)[0].starts_with(said), "{:?}", failures(&fake));
        assert!(fake.state().now.as_secs() >= 300);
    }
}

#[test]
fn the_second_server_gives_the_root_where_the_first_does_not() {
    for first in [Err(Errno::ACCESS), Ok(())] {
        let fake = machine();
        let mut state = fake.state();
        state.servers.get_mut(&at(OTHER)).unwrap().is_up = true;
        state.servers.get_mut(&at(SERVER)).unwrap().mounts = first;
        state.servers.get_mut(&at(SERVER)).unwrap().is_up = first.is_err();
        drop(state);
        boots(&fake, 60);
        assert!(fake.state().mounts.iter().any(|(source, _, _)| source == "192.168.77.2:/v/ab.02"));
    }
}

#[test]
fn a_kernel_without_overlayfs_is_named() {
    let fake = machine();
    fake.state().bad_mounts.insert("overlay".to_owned(), Errno::NODEV);
    assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
    assert!(
        failures(&fake)[0].starts_with("6.1.0-56 lays no overlay over the root: ENODEV"),
        "{:?}",
        failures(&fake)
    );
    assert_eq!(fake.state().said.last().unwrap(), "0202020202020202.failed-overlay");
}

#[test]
fn a_machine_with_too_little_memory_says_so() {
    let fake = machine();
    fake.state().bad_mounts.insert("tmpfs".to_owned(), Errno::NOMEM);
    assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
    assert!(
        failures(&fake)[0].contains("no memory for what the machine writes: ENOMEM"),
        "{:?}",
        failures(&fake)
    );
}

#[test]
fn compressed_memory_is_swap_under_a_tmpfs_and_a_kernel_without_it_is_named() {
    let settings = SETTINGS.replace("overlay tmpfs 50%", "overlay zram 25%");
    let fake = machine_with(&settings);
    boots(&fake, 60);
    let state = fake.state();
    assert_eq!(state.swap.as_deref(), Some("/dev/zram0"));
    assert_eq!(state.text("/sys/block/zram0/disksize").unwrap(), (1u64 << 28).to_string());
    assert!(state.loaded.iter().any(|module| module == "zram"));
    assert!(state.text("/dev/zram0").unwrap().ends_with("SWAPSPACE2"));
    assert_eq!(state.text("/sys/block/zram0/comp_algorithm"), None, "the kernel's own choice");
    drop(state);
    let fake = machine_with(&SETTINGS.replace("overlay tmpfs 50%", "overlay zram 25% zstd"));
    boots(&fake, 60);
    assert_eq!(fake.state().text("/sys/block/zram0/comp_algorithm").unwrap(), "zstd");
    let choice = "/sys/block/zram0/comp_algorithm";
    let fake = machine_with(&SETTINGS.replace("overlay tmpfs 50%", "overlay zram 25% lz4"));
    fake.state().files.insert(choice.to_owned(), file("lzo [lzo-rle] lz4 zstd"));
    fake.state().bad_compression = Some("lz4".to_owned());
    boots(&fake, 60);
    assert_eq!(fake.state().text(choice).unwrap(), "lzo-rle", "a kernel that has its name alone");
    assert!(fake.page().contains("has no lz4"), "{}", fake.page());
    let fake = machine_with(&settings);
    fake.state().is_without_zram = true;
    assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
    assert!(failures(&fake)[0].contains("6.1.0-56 has no zram"), "{:?}", failures(&fake));
}

#[test]
fn a_new_root_that_does_not_become_the_root_is_said() {
    let fake = machine();
    fake.state().bad_mounts.insert("/new".to_owned(), Errno::INVAL);
    assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
    assert!(
        failures(&fake)[0].starts_with("the new root can't become the root: EINVAL"),
        "{:?}",
        failures(&fake)
    );
}

#[test]
fn an_ipv6_server_is_passed_over_with_a_word() {
    let settings = SETTINGS.replace("server 192.168.77.2", "server 2001:db8::1");
    let fake = machine_with(&settings.replace("server 192.168.77.1 2049 80\n", ""));
    fake.state().files.insert("/x".to_owned(), file(""));
    assert_eq!(fake.boot(10_000), End::Over(Over::Restart));
    assert!(fake.page().contains("2001:db8::1 is no IPv4 address"), "{}", fake.page());
    let fake = machine_with(&settings);
    boots(&fake, 60);
}
