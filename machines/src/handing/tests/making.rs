//! Secrets that the site's program makes: how often it is run, what is kept of what it prints, and what a machine has meanwhile.

use std::sync::Mutex;

use oneroot_bootconf::hardware::{Arch, Hardware};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::handing::making::GIVES_REST_AFTER;
use crate::planner::decider::{Decider, Running};
use crate::secrets::record::{MachineSecrets, SECRETS as RECORDS};

const MADE: &str =
    "[make_secrets]\nprogram = \"./make\"\n[machine.alpha.secrets]\ntoken = \"made\"\nother = \"random\"\n";
const FAILED: &str = "has ended with exit code 1";

/// Makes secrets as a program would: what it was asked, what it does, and how many runs may end.
struct Maker {
    asked: Mutex<Vec<String>>,
    says: Mutex<Result<Vec<u8>, String>>,
    ends: Arc<Semaphore>,
}

impl Maker {
    fn says(what: Result<&[u8], &str>) -> Arc<Self> {
        let maker = Self::slow(what);
        maker.ends.add_permits(1000);
        maker
    }

    /// None of its runs ends before somebody lets it.
    fn slow(what: Result<&[u8], &str>) -> Arc<Self> {
        let says = Mutex::new(what.map(<[u8]>::to_vec).map_err(str::to_owned));
        Arc::new(Self { asked: Mutex::default(), says, ends: Arc::new(Semaphore::new(0)) })
    }

    fn will_say(&self, what: Result<&[u8], &str>) {
        *self.says.lock().unwrap() = what.map(<[u8]>::to_vec).map_err(str::to_owned);
    }

    fn runs(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    async fn was_run(&self, times: usize) {
        while self.runs() < times {
            tokio::task::yield_now().await;
        }
    }
}

impl Decider for Maker {
    fn run(&self, question: Vec<u8>, _: bool) -> Running {
        self.asked.lock().unwrap().push(String::from_utf8(question).unwrap());
        let (says, ends) = (self.says.lock().unwrap().clone(), self.ends.clone());
        Box::pin(async move {
            ends.acquire().await.unwrap().forget();
            says
        })
    }
}

fn wants(lab: &Lab, secrets: &str) {
    let site = site_with(lab.home.path(), true, secrets);
    [&lab.one, &lab.other].iter().for_each(|server| server.machines.put_site(site.clone()));
}

/// The lab, with a program at each server, and a boot that wants what they make.
async fn lab_with(one: &Arc<Maker>, other: &Arc<Maker>) -> Lab {
    let mut lab = lab().await;
    wants(&lab, MADE);
    lab.one.machines.make_secrets_by(one.clone());
    lab.other.machines.make_secrets_by(other.clone());
    lab.pin = mounted(&lab.one.machines, lab.peer, lab.pin.mac).await;
    lab.other.hear();
    lab
}

/// Asks, and does not wait for the answer.
fn asking(server: &Server, lab: &Lab) -> JoinHandle<Result<MountGrant, MountError>> {
    let (machines, peer, path) = (server.machines.clone(), lab.peer, format!("/s/{}", lab.pin.boot));
    tokio::spawn(async move { machines.mount(SocketAddr::new(peer, 700), path.as_bytes()).await })
}

/// Asks while a run goes on, and waits until it is answered.
async fn waited(maker: &Maker, lab: &Lab) -> Result<MountGrant, MountError> {
    let ask = asking(&lab.one, lab);
    maker.was_run(1).await;
    while !ask.is_finished() {
        lab.one.clock.pass(1);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    ask.await.unwrap()
}

async fn record(lab: &Lab) -> MachineSecrets {
    let state = lab.one.machines.state.as_ref();
    RECORDS.get(state, "alpha").await.unwrap().map(|found| found.value).unwrap_or_default()
}

fn status(lab: &Lab) -> String {
    format!("{:?}", lab.one.machines.one("alpha").unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_the_sites_program_makes_is_made_once_and_anew_when_somebody_wants_that() {
    let lab = lab().await;
    wants(&lab, MADE);
    let maker = Maker::says(Err(FAILED));
    let pin = mounted(&lab.one.machines, lab.peer, lab.pin.mac).await;
    // Without anybody who runs it, and where it fails, the machine has the rest.
    for _ in 0..2 {
        let grant = ask(&lab.one, lab.peer, 700, &pin).await.unwrap();
        assert!(read(&lab.one, lab.peer, &grant, "token").is_none());
        assert!(read(&lab.one, lab.peer, &grant, "other").is_some());
        lab.one.machines.make_secrets_by(maker.clone());
        lab.other.machines.make_secrets_by(maker.clone());
    }
    let says = |what: Result<&[u8], &str>| maker.will_say(what);
    for bad in [&b""[..], &[b'x'; LARGEST + 1]] {
        says(Ok(bad));
        let pin = mounted(&lab.one.machines, lab.peer, lab.pin.mac).await;
        let grant = ask(&lab.one, lab.peer, 700, &pin).await.unwrap();
        assert!(read(&lab.one, lab.peer, &grant, "token").is_none(), "{} bytes", bad.len());
    }
    says(Ok(b"t0ken\n"));
    maker.asked.lock().unwrap().clear();
    let next = async |server: &Server| {
        let pin = mounted(&server.machines, lab.peer, lab.pin.mac).await;
        let grant = ask(server, lab.peer, 700, &pin).await.unwrap();
        read(server, lab.peer, &grant, "token")
    };
    assert_eq!(next(&lab.one).await.as_deref(), Some(&b"t0ken\n"[..]));
    says(Ok(b"another"));
    assert_eq!(next(&lab.one).await.as_deref(), Some(&b"t0ken\n"[..]), "there is one");
    let asked = "{\"machine\":\"alpha\",\"secret\":\"token\",\"macs\":[\"52:54:00:00:00:0a\"]}\n";
    assert_eq!(*maker.asked.lock().unwrap(), [asked]);
    let rotate = || lab.one.machines.change_secret("alpha", "token", &SecretChange::Rotate, "ada");
    let status = rotate().await.unwrap().unwrap();
    assert_eq!((status.kind, status.made.unwrap().by.as_str()), (SecretKind::Made, "ada"));
    assert_eq!(next(&lab.one).await.as_deref(), Some(&b"another"[..]));
    says(Err(FAILED));
    let refused = rotate().await.unwrap_err();
    assert!(refused.to_string().contains("make has ended with exit code 1"), "{refused}");
    assert_eq!(next(&lab.one).await.as_deref(), Some(&b"another"[..]), "it stays what it was");
    set(&lab.one, "token", b"by hand").await.unwrap();
    assert_eq!(next(&lab.one).await.as_deref(), Some(&b"by hand"[..]), "what an admin sets counts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_program_is_run_once_by_each_server_however_often_a_machine_asks_and_all_have_what_is_kept() {
    let (one, other) = (Maker::slow(Ok(b"by one")), Maker::slow(Ok(b"by other")));
    let lab = lab_with(&one, &other).await;
    let asks = [asking(&lab.one, &lab), asking(&lab.one, &lab), asking(&lab.other, &lab)];
    one.was_run(1).await;
    other.was_run(1).await;
    // Time for another run to begin, were nothing in its way.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    [&one, &other].iter().for_each(|maker| maker.ends.add_permits(10));
    let mut given = Vec::new();
    for (ask, server) in asks.into_iter().zip([&lab.one, &lab.one, &lab.other]) {
        given.push(read(server, lab.peer, &ask.await.unwrap().unwrap(), "token").unwrap());
    }
    assert_eq!((one.runs(), other.runs()), (1, 1));
    assert!([&b"by one"[..], b"by other"].contains(&given[0].as_slice()), "{given:?}");
    assert!(given.iter().all(|token| *token == given[0]), "what was written first is kept: {given:?}");
    let turns = &lab.one.machines.secrets.turns;
    assert_eq!(turns.len(), 1);
    lab.one.machines.tick().await;
    assert_eq!(turns.len(), 0, "a machine whose turn is over is remembered no longer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_program_runs_the_machine_is_told_to_ask_again_and_what_has_come_of_it_meanwhile_is_told_once()
 {
    let maker = Maker::slow(Err(FAILED));
    let lab = lab_with(&maker, &maker).await;
    for _ in 0..3 {
        let told = waited(&maker, &lab).await;
        assert_eq!(told, Err(MountError::ServerFault), "by this error alone it asks on");
    }
    assert_eq!(maker.runs(), 1);
    assert!(status(&lab).contains("is making them; it asks again"), "{}", status(&lab));
    maker.ends.add_permits(1);
    while ask(&lab.one, lab.peer, 700, &lab.pin).await.is_err() {}
    assert_eq!(maker.runs(), 1, "it has failed for this boot, which is told so and has the rest");
    let told = status(&lab);
    assert!(told.contains("goes without secrets: token: ") && told.contains(FAILED), "{told}");
    maker.will_say(Ok(b"late"));
    maker.ends.add_permits(1);
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &grant, "token").as_deref(), Some(&b"late"[..]));
    assert_eq!(maker.runs(), 2);
    assert!(!status(&lab).contains("without secrets"), "nothing is lacking any more: {}", status(&lab));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_was_made_late_is_given_to_the_second_try_of_the_same_boot() {
    let maker = Maker::says(Err(FAILED));
    let lab = lab_with(&maker, &maker).await;
    let first = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &first, "token"), None);
    let other = read(&lab.one, lab.peer, &first, "other").unwrap();
    maker.will_say(Ok(b"late"));
    let second = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &second, "token").as_deref(), Some(&b"late"[..]));
    assert_eq!(read(&lab.one, lab.peer, &second, "other"), Some(other));
    assert_eq!(lab.one.machines.tree(lab.peer, ViewId(first.view)).map(drop), Err(Refusal::Stale));
    let third = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(third.view, second.view, "nothing is new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_another_kind_is_given_to_nobody_and_stays_until_the_new_one_is_there() {
    let maker = Maker::says(Err(FAILED));
    let mut lab = lab_with(&maker, &maker).await;
    wants(&lab, "[machine.alpha.secrets]\ntoken = \"random\"\n");
    lab.pin = mounted(&lab.one.machines, lab.peer, lab.pin.mac).await;
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert!(read(&lab.one, lab.peer, &grant, "token").is_some());
    let before = record(&lab).await.kept["token"].clone();
    wants(&lab, MADE);
    lab.pin = mounted(&lab.one.machines, lab.peer, lab.pin.mac).await;
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &grant, "token"), None, "it is not what the site says");
    assert_eq!(record(&lab).await.kept["token"], before, "and may be what it says tomorrow");
    let listed = lab.one.machines.secrets(None).await.unwrap();
    let token = listed.iter().filter(|secret| secret.name == "token");
    let shown: Vec<_> = token.map(|secret| (secret.kind, secret.wanted, secret.made.is_some())).collect();
    assert_eq!(shown, [(SecretKind::Random, false, true), (SecretKind::Made, true, false)]);
    maker.will_say(Ok(b"made"));
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &grant, "token").as_deref(), Some(&b"made"[..]));
    assert_eq!(record(&lab).await.kept["token"].kind, SecretKind::Made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_waits_for_the_run_under_way_and_says_where_what_was_printed_is_not_kept() {
    let maker = Maker::slow(Ok(b"first"));
    let lab = lab_with(&maker, &maker).await;
    let rotate = || {
        let machines = lab.one.machines.clone();
        tokio::spawn(
            async move { machines.change_secret("alpha", "token", &SecretChange::Rotate, "ada").await },
        )
    };
    let boots = asking(&lab.one, &lab);
    maker.was_run(1).await;
    let first = rotate();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(maker.runs(), 1, "one at a time");
    let another = rotate();
    while !another.is_finished() {
        lab.one.clock.pass(1);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(first.await.unwrap().is_err());
    let busy = another.await.unwrap().unwrap_err();
    assert!(matches!(busy, Error::Secret(SecretRefused::Busy(_))), "{busy}");
    // The machine was told to ask again by now.
    assert_eq!(boots.await.unwrap(), Err(MountError::ServerFault));
    let rotates = rotate();
    maker.will_say(Ok(b"second"));
    maker.ends.add_permits(2);
    assert!(rotates.await.unwrap().unwrap().is_some());
    assert_eq!(maker.runs(), 2);
    let rotates = rotate();
    maker.was_run(3).await;
    let removed = lab.one.machines.change_secret("alpha", "token", &SecretChange::Remove, "bob").await;
    assert_eq!(removed.unwrap(), None);
    maker.ends.add_permits(1);
    let told = rotates.await.unwrap().unwrap_err().to_string();
    assert!(
        told.contains("the program has run, and what it printed was not kept: alpha has no secret token"),
        "{told}"
    );
    maker.ends.add_permits(1);
    assert!(ask(&lab.one, lab.peer, 700, &lab.pin).await.is_ok());
    wants(&lab, "[make_secrets]\nprogram = \"./make\"\n");
    let runs = maker.runs();
    let refused = rotate().await.unwrap().unwrap_err();
    assert!(matches!(refused, Error::Secret(SecretRefused::NotSaid { .. })), "{refused}");
    assert_eq!(maker.runs(), runs, "nothing is made that nobody wants");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_does_not_end_keeps_no_other_secret_from_a_machine() {
    let maker = Maker::slow(Ok(b"late"));
    let mut lab = lab_with(&maker, &maker).await;
    assert_eq!(waited(&maker, &lab).await, Err(MountError::ServerFault), "there is time to wait still");
    lab.one.clock.pass(GIVES_REST_AFTER);
    let grant = waited(&maker, &lab).await.unwrap();
    assert!(read(&lab.one, lab.peer, &grant, "other").is_some());
    assert_eq!(read(&lab.one, lab.peer, &grant, "token"), None);
    assert!(status(&lab).contains("goes without secrets: token: it is being made still"), "{}", status(&lab));
    maker.ends.add_permits(1);
    lab.pin = mounted(&lab.one.machines, lab.peer, lab.pin.mac).await;
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &grant, "token").as_deref(), Some(&b"late"[..]));
    assert_eq!(maker.runs(), 1, "what was made meanwhile is there for the next boot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_state_cannot_be_written_a_machine_is_told_to_ask_again_and_does_not_go_without_what_is_made()
 {
    let maker = Maker::says(Ok(b"t0ken"));
    let lab = lab_with(&maker, &maker).await;
    lab.one.memory().fail(u64::MAX);
    for _ in 0..2 {
        assert_eq!(ask(&lab.one, lab.peer, 700, &lab.pin).await, Err(MountError::ServerFault));
    }
    lab.one.memory().fail(0);
    let grant = ask(&lab.one, lab.peer, 700, &lab.pin).await.unwrap();
    assert_eq!(read(&lab.one, lab.peer, &grant, "token").as_deref(), Some(&b"t0ken"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_what_the_server_makes_waits_for_no_program_and_a_boot_is_told_what_became_of_its_own() {
    let maker = Maker::slow(Err(FAILED));
    let lab = lab_with(&maker, &maker).await;
    set(&lab.one, "token", b"by hand").await.unwrap();
    assert!(ask(&lab.one, lab.peer, 700, &lab.pin).await.is_ok());
    lab.one.machines.change_secret("alpha", "token", &SecretChange::Remove, "ada").await.unwrap();
    assert_eq!(waited(&maker, &lab).await, Err(MountError::ServerFault));
    let other = record(&lab).await.kept["other"].clone();
    let rotate = || lab.one.machines.change_secret("alpha", "other", &SecretChange::Rotate, "ada");
    let rotated = tokio::time::timeout(std::time::Duration::from_secs(20), rotate()).await;
    assert!(rotated.expect("it waits for nobody").unwrap().is_some());
    assert_ne!(record(&lab).await.kept["other"], other);
    maker.ends.add_permits(1);
    drop(lab.one.machines.secrets.turns.take("alpha").await);
    assert!(rotate().await.unwrap().is_some());
    assert!(ask(&lab.one, lab.peer, 700, &lab.pin).await.is_ok());
    assert_eq!(maker.runs(), 1, "it has failed for this boot, which is told so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_program_is_run_for_what_nobody_could_seal() {
    let home = tempfile::tempdir().unwrap();
    let ([one, _other], peer) = two(home.path()).await;
    one.machines.put_site(site_with(home.path(), true, MADE));
    let (maker, mac) = (Maker::says(Ok(b"t0ken")), "52:54:00:00:00:0a".parse().unwrap());
    one.machines.make_secrets_by(maker.clone());
    one.machines.leased(peer, mac);
    let pin = mounted(&one.machines, peer, mac).await;
    assert_eq!(ask(&one, peer, 700, &pin).await, Err(MountError::Io));
    let made = "{\"kept\":{\"token\":{\"sealed\":\"\",\"kind\":\"made\",\"made\":{\"by\":\"a\",\"at\":1}}}}";
    let before: MachineSecrets = serde_json::from_str(made).unwrap();
    one.machines.change_secrets("alpha", &|_| Ok(Some(before.clone()))).await.unwrap();
    let refused = one.machines.change_secret("alpha", "token", &SecretChange::Rotate, "ada").await;
    assert!(matches!(refused, Err(Error::NoSiteSeal)), "{refused:?}");
    assert_eq!(maker.runs(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_program_is_run_for_a_boot_that_has_said_that_it_asks_no_more() {
    let maker = Maker::says(Err(FAILED));
    let lab = lab_with(&maker, &maker).await;
    assert!(ask(&lab.one, lab.peer, 700, &lab.pin).await.is_ok());
    say(&lab.one, &lab, "secrets-taken").await;
    assert_eq!(ask(&lab.one, lab.peer, 700, &lab.pin).await, Err(MountError::Acces));
    while record(&lab).await.closed.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&lab.other, lab.peer, 700, &lab.pin).await, Err(MountError::Acces));
    assert_eq!(maker.runs(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_a_rule_gives_by_the_hardware_is_made_anew_as_any_other() {
    let lab = lab().await;
    wants(
        &lab,
        "[make_secrets]\nprogram = \"./make\"\n[machine.beta]\nmac = \"52:54:00:00:00:0b\"\n\
        [[rule]]\nwhen = { arch = \"x86_64\" }\nprofile = \"a\"\nsecrets = { token = \"made\" }\n\
        [[rule]]\nwhen = {}\nprofile = \"a\"\nsecrets = { token = \"random\", other = \"random\" }\n",
    );
    let maker = Maker::says(Ok(b"first"));
    lab.one.machines.make_secrets_by(maker.clone());
    let (mac, peer): (Mac, IpAddr) = ("52:54:00:00:00:0b".parse().unwrap(), [10, 0, 0, 78].into());
    lab.one.machines.leased(peer, mac);
    let tells = Hardware { arch: Some(Arch::X86_64), ..Hardware::default() };
    lab.one.machines.script_by(peer, mac, None, Ask::Whole, Some(tells)).await.unwrap();
    let pin = mounted(&lab.one.machines, peer, mac).await;
    let grant = ask(&lab.one, peer, 700, &pin).await.unwrap();
    assert_eq!(read(&lab.one, peer, &grant, "token").unwrap(), b"first");
    let listed = lab.one.machines.secrets(Some("beta")).await.unwrap();
    assert_eq!(
        listed.iter().map(|secret| (secret.name.as_str(), secret.wanted)).collect::<Vec<_>>(),
        [("token", true)]
    );
    maker.will_say(Ok(b"second"));
    let rotated = lab.one.machines.change_secret("beta", "token", &SecretChange::Rotate, "ada").await;
    assert!(rotated.unwrap().is_some_and(|secret| secret.wanted));
    assert_eq!(maker.runs(), 2);
    // What the site says no more is nobody's, whatever a machine still runs with.
    wants(
        &lab,
        "[make_secrets]\nprogram = \"./make\"\n[machine.beta]\nmac = \"52:54:00:00:00:0b\"\n\
        [[rule]]\nwhen = {}\nprofile = \"a\"\n",
    );
    let listed = lab.one.machines.secrets(Some("beta")).await.unwrap();
    assert_eq!(listed.iter().map(|secret| secret.wanted).collect::<Vec<_>>(), [false]);
    let rotated = lab.one.machines.change_secret("beta", "token", &SecretChange::Rotate, "ada").await;
    assert!(matches!(rotated, Err(Error::Secret(SecretRefused::NotSaid { .. }))), "{rotated:?}");
    assert_eq!(maker.runs(), 2);
}
