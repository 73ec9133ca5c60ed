//! Access tokens: made, taken back, listed, and asked for. What is answered is durable; what another server on the same state
//! has changed counts here as soon as the watch tells it.
//!
//! | asked | and | then |
//! |---|---|---|
//! | new | nobody has a token of this name that is still good | it is made, and its secret is told this once |
//! | new | somebody has | refused: it would take a token away from whoever uses it |
//! | revoke | it was not | it is good for nothing from now on |
//! | revoke | it was | it stays as it was, with who has done so first |
//!
//! One that is over keeps its record, so that the log can say why it is refused, until its name or its place is needed.

use std::net::IpAddr;
use std::sync::Arc;

use oneroot_bootconf::assignment::Signed;
use oneroot_state::{Backend as _, Error as StateError, Expect, Txn};
use serde::{Deserialize, Serialize};

use crate::boots::commit::TRIES;
use crate::credentials::record::{Granted, TOKENS, TokenName, TokenRecord, TokenRefused};
use crate::credentials::secret::Secret;
use crate::credentials::view::TokenView;
use crate::error::{Error, Result, TokenChangeRefused};
use crate::host::random;
use crate::machines::Machines;

/// Tokens, those that are over included.
const MOST: usize = 1000;
/// Views of one.
const MOST_VIEWS: usize = 64;

/// A token that somebody wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenWanted {
    /// Its name.
    pub name: String,
    /// What it is to be good for.
    pub views: Vec<TokenView>,
    /// For how long, in seconds; none until it is revoked.
    pub lasts: Option<u64>,
}

/// A token as an admin sees it: its secret is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenStatus {
    /// Its name.
    pub name: String,
    /// What it is good for.
    pub views: Vec<TokenView>,
    /// Who has made it, and when, seconds since 1970.
    pub made: Signed,
    /// When it ends, seconds since 1970.
    pub expires: Option<u64>,
    /// Whether that is over.
    pub expired: bool,
    /// Who has taken it back, and when, seconds since 1970.
    pub revoked: Option<Signed>,
}

/// What a token is to be, made of what it is; nothing where that is what it is to be.
type Change<'c> = dyn Fn(Option<&TokenRecord>) -> Result<Option<TokenRecord>, TokenChangeRefused> + Sync + 'c;

impl Machines {
    /// What whoever shows this secret may have. A refusal is said in the log, as often as one peer may have something said.
    ///
    /// # Errors
    /// Why it may have nothing; who asks is told that alone.
    pub fn token(&self, peer: IpAddr, secret: &str) -> Result<Granted, TokenRefused> {
        let granted = self.granted(secret);
        match &granted {
            Ok(Granted { name, .. }) => tracing::debug!(%peer, token = name.as_str(), "took an access token"),
            Err(cause) => tracing::warn!(%peer, %cause, "refused an access token"),
        }
        granted
    }

    fn granted(&self, secret: &str) -> Result<Granted, TokenRefused> {
        let hash = secret.parse::<Secret>().map_err(|()| TokenRefused::Unknown)?.hash();
        let index = self.index();
        // Each is compared, so how long it takes doesn't tell which of them is like it.
        let found = index
            .tokens
            .values()
            .fold(None, |found, (record, _)| if record.hash.is_of(&hash) { Some(record) } else { found });
        found.ok_or(TokenRefused::Unknown)?.granted(self.host.now())
    }

    /// All tokens, in the order of their names.
    pub fn tokens(&self) -> Vec<TokenStatus> {
        let index = self.index();
        index.tokens.values().map(|(record, _)| self.token_status(record)).collect()
    }

    fn token_status(&self, record: &TokenRecord) -> TokenStatus {
        let shown = |signed: &Signed| Signed { at: self.host.shown(signed.at), ..signed.clone() };
        TokenStatus {
            name: record.name.to_string(),
            views: record.views.clone(),
            made: shown(&record.made),
            expires: record.expires.map(|end| self.host.shown(end)),
            expired: record.expires.is_some_and(|end| end <= self.host.now()),
            revoked: record.revoked.as_ref().map(shown),
        }
    }

    /// Makes a token: its secret, which is told this once, and what it is good for.
    ///
    /// # Errors
    /// [`Error::Token`], and the state's.
    pub async fn new_token(
        self: &Arc<Self>,
        wanted: &TokenWanted,
        by: &str,
    ) -> Result<(String, TokenStatus)> {
        let name = self.checked(wanted)?;
        let secret = Secret::from_random(random(self.host.as_ref()).map_err(Error::Random)?);
        let now = self.host.now();
        let record = TokenRecord {
            name: name.clone(),
            hash: secret.hash(),
            views: wanted.views.clone(),
            made: Signed { by: by.to_owned(), at: now },
            expires: wanted.lasts.map(|lasts| now.saturating_add(lasts)),
            revoked: None,
        };
        self.write_token(&name, &|known| match known {
            // Our own, of which the answer was lost.
            Some(known) if known.hash.is_of(&record.hash) => Ok(None),
            Some(known) if known.granted(now).is_ok() => Err(TokenChangeRefused::Taken(name.clone())),
            _ => Ok(Some(record.clone())),
        })
        .await?;
        tracing::info!(token = %name, %by, "made an access token");
        Ok((secret.reveal(), self.token_status(&record)))
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// [`Error::Token`] where there is none of this name, and the state's.
    pub async fn revoke_token(self: &Arc<Self>, name: &str, by: &str) -> Result<TokenStatus> {
        let no_such = || TokenChangeRefused::NoSuchToken(name.to_owned());
        let parsed: TokenName = name.parse().map_err(|_| no_such())?;
        let revoked = Some(Signed { by: by.to_owned(), at: self.host.now() });
        let is_new = self
            .write_token(&parsed, &|known| match known {
                None => Err(no_such()),
                Some(known) if known.revoked.is_some() => Ok(None),
                Some(known) => Ok(Some(TokenRecord { revoked: revoked.clone(), ..known.clone() })),
            })
            .await?;
        if is_new {
            tracing::info!(token = %parsed, %by, "revoked an access token");
        }
        let index = self.index();
        let (record, _) = index.tokens.get(&parsed).ok_or_else(no_such)?;
        Ok(self.token_status(record))
    }

    /// Its name, once all is as it may be.
    fn checked(&self, wanted: &TokenWanted) -> Result<TokenName> {
        let name = wanted.name.parse().map_err(TokenChangeRefused::Words)?;
        if wanted.views.is_empty() {
            return Err(TokenChangeRefused::NoViews.into());
        }
        if wanted.views.len() > MOST_VIEWS {
            return Err(TokenChangeRefused::TooManyViews(MOST_VIEWS).into());
        }
        let site = self.site();
        match wanted.views.iter().find(|view| !view.is_in(&site)) {
            Some(view) => Err(TokenChangeRefused::NoSuchView(view.to_string()).into()),
            None => Ok(name),
        }
    }

    /// Writes what a token is to be, made of what it is; whether anything was written. It is asked again where another server was
    /// quicker, or where nobody knows whether it was written.
    async fn write_token(self: &Arc<Self>, name: &TokenName, change: &Change<'_>) -> Result<bool> {
        for _ in 0..TRIES {
            let Some(txn) = self.token_transaction(name, change)? else { return Ok(false) };
            let machines = self.clone();
            // In a task of its own: whoever asked may be gone, and what is on the disk must be what is known.
            let written = tokio::spawn(async move {
                match machines.state.commit(txn.clone()).await {
                    Ok(revision) => {
                        machines.committed(&txn, revision);
                        Ok(true)
                    }
                    Err(StateError::Conflict { .. } | StateError::OutcomeUnknown(_)) => {
                        machines.read_anew().await.map(|()| false)
                    }
                    Err(cause) => Err(cause.into()),
                }
            });
            if written.await?? {
                return Ok(true);
            }
        }
        Err(Error::Contended)
    }

    fn token_transaction(&self, name: &TokenName, change: &Change<'_>) -> Result<Option<Txn>> {
        let (index, now) = (self.index(), self.host.now());
        let known = index.tokens.get(name);
        let Some(record) = change(known.map(|(known, _)| known))? else { return Ok(None) };
        let expect = known.map_or(Expect::Absent, |(_, revision)| Expect::At(*revision));
        let mut txn = TOKENS.put(TOKENS.expect(Txn::new(), name, expect), name, &record)?;
        if known.is_none() && index.tokens.len() >= MOST {
            let over = index.tokens.values().filter(|(record, _)| record.granted(now).is_err());
            let (oldest, revision) =
                over.min_by_key(|(record, _)| record.made.at).ok_or(TokenChangeRefused::Full(MOST))?;
            let expected = TOKENS.expect(txn, &oldest.name, Expect::At(*revision));
            txn = TOKENS.delete(expected, &oldest.name);
        }
        Ok(Some(txn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boots::tests_on::{Server, two};
    use oneroot_state::Trouble;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn wanted(name: &str, lasts: Option<u64>) -> TokenWanted {
        TokenWanted { name: name.to_owned(), views: vec![TokenView::Profile("a".to_owned())], lasts }
    }

    async fn make(server: &Server, name: &str, lasts: Option<u64>) -> Result<String> {
        Ok(server.machines.new_token(&wanted(name, lasts), "ada").await?.0)
    }

    fn is_good(server: &Server, secret: &str) -> bool {
        server.machines.token(PEER, secret).is_ok()
    }

    fn refused<T: std::fmt::Debug>(done: Result<T>) -> TokenChangeRefused {
        match done {
            Err(Error::Token(cause)) => cause,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_token_is_good_for_what_it_was_made_for_and_no_other_secret_is() {
        let home = tempfile::tempdir().unwrap();
        let ([one, _], _) = two(home.path()).await;
        let (secret, made) = one.machines.new_token(&wanted("mirror", None), "ada").await.unwrap();
        assert_eq!((made.made.by.as_str(), made.expires, made.expired), ("ada", None, false));
        let granted = one.machines.token(PEER, &secret).unwrap();
        assert_eq!(granted.name, "mirror");
        assert!(granted.covers(&TokenView::Profile("a".to_owned())));
        assert!(!granted.covers(&TokenView::Machine("a".to_owned())));
        let other = make(&one, "other", None).await.unwrap();
        assert!(other != secret && one.machines.token(PEER, &other).unwrap().name == "other");
        for wrong in
            ["", "oneroot_", &secret[1..], &secret.to_uppercase(), &format!("oneroot_{}", "0".repeat(64))]
        {
            assert_eq!(one.machines.token(PEER, wrong), Err(TokenRefused::Unknown), "{wrong}");
        }
        let names: Vec<String> = one.machines.tokens().into_iter().map(|token| token.name).collect();
        assert_eq!(names, ["mirror", "other"]);
        let kept = one.machines.state.list("tokens/").await.unwrap();
        for (_, record) in kept.records {
            let text = String::from_utf8_lossy(&record.value).into_owned();
            assert!(!text.contains(&secret[8..]) && !text.contains(&other[8..]), "{text}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_token_ends_by_site_time_or_at_once_when_it_is_revoked_and_its_name_is_free_then() {
        let home = tempfile::tempdir().unwrap();
        let ([one, _], _) = two(home.path()).await;
        let (short, long) =
            (make(&one, "short", Some(100)).await.unwrap(), make(&one, "long", None).await.unwrap());
        assert!(matches!(refused(make(&one, "short", None).await), TokenChangeRefused::Taken(_)));
        one.clock.pass(99);
        assert!(is_good(&one, &short) && !one.machines.tokens()[1].expired);
        one.clock.pass(1);
        assert!(matches!(one.machines.token(PEER, &short), Err(TokenRefused::Expired(_))));
        assert!(one.machines.tokens()[1].expired && is_good(&one, &long));
        let revoked = one.machines.revoke_token("long", "bob").await.unwrap().revoked.unwrap();
        assert_eq!(revoked.by, "bob");
        assert!(matches!(one.machines.token(PEER, &long), Err(TokenRefused::Revoked(_))));
        // Again it is no other, and nobody else has done it.
        one.clock.pass(5);
        assert_eq!(one.machines.revoke_token("long", "eve").await.unwrap().revoked.unwrap(), revoked);
        assert!(matches!(
            refused(one.machines.revoke_token("nobody", "bob").await),
            TokenChangeRefused::NoSuchToken(_)
        ));
        for (name, old) in [("short", &short), ("long", &long)] {
            let new = make(&one, name, None).await.unwrap();
            assert!(is_good(&one, &new));
            assert_eq!(one.machines.token(PEER, old), Err(TokenRefused::Unknown), "{name}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_one_server_makes_or_revokes_the_other_takes_or_refuses_and_no_name_is_given_twice() {
        let home = tempfile::tempdir().unwrap();
        let ([one, mut other], _) = two(home.path()).await;
        let secret = make(&one, "mirror", None).await.unwrap();
        assert!(
            matches!(refused(make(&other, "mirror", None).await), TokenChangeRefused::Taken(_)),
            "not heard of yet"
        );
        other.hear();
        assert!(is_good(&other, &secret));
        other.machines.revoke_token("mirror", "bob").await.unwrap();
        one.machines.revoke_token("mirror", "ada").await.unwrap();
        assert!(!is_good(&one, &secret) && !is_good(&other, &secret));
        assert_eq!(one.machines.tokens()[0].revoked.as_ref().unwrap().by, "bob", "he was first");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_whose_answer_was_lost_is_made_once_and_one_that_is_not_durable_is_none() {
        let home = tempfile::tempdir().unwrap();
        let ([one, mut other], _) = two(home.path()).await;
        for (name, lost) in [("a", Trouble::AnswerLost), ("b", Trouble::RequestLost)] {
            one.memory().trouble([Some(lost)]);
            let secret = make(&one, name, None).await.unwrap();
            other.hear();
            assert!(is_good(&one, &secret) && is_good(&other, &secret), "{lost:?}");
            one.memory().trouble([Some(lost)]);
            one.machines.revoke_token(name, "ada").await.unwrap();
            other.hear();
            assert!(!is_good(&one, &secret) && !is_good(&other, &secret), "{lost:?}");
        }
        let secret = make(&one, "c", None).await.unwrap();
        one.memory().set_unreachable(true);
        assert!(make(&one, "d", None).await.is_err() && one.machines.revoke_token("c", "ada").await.is_err());
        assert!(is_good(&one, &secret), "nobody was told that it is revoked");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_the_site_does_not_have_is_granted_to_nobody_and_tokens_are_bounded() {
        let home = tempfile::tempdir().unwrap();
        let ([one, _], _) = two(home.path()).await;
        let of =
            |name: &str, views: Vec<TokenView>| TokenWanted { name: name.to_owned(), views, lasts: None };
        let view = |name: &str| TokenView::Profile(name.to_owned());
        for (bad, words) in [
            (of("a/b", vec![view("a")]), "is not a token's name"),
            (of("x", vec![]), "--view"),
            (of("x", vec![view("a"); MOST_VIEWS + 1]), "64 views at most"),
            (of("x", vec![view("a"), view("nothing")]), "the site has no profile nothing"),
            (of("x", vec![TokenView::Machine("nobody".to_owned())]), "the site has no machine nobody"),
        ] {
            let told = refused(one.machines.new_token(&bad, "ada").await).to_string();
            assert!(told.contains(words), "{told}");
        }
        for number in 0..MOST {
            let lasts = (number % 2 == 0).then_some(100);
            make(&one, &format!("t{number}"), lasts).await.unwrap();
        }
        assert!(matches!(refused(make(&one, "more", None).await), TokenChangeRefused::Full(MOST)));
        one.clock.pass(100);
        let secret = make(&one, "more", None).await.unwrap();
        assert!(is_good(&one, &secret) && one.machines.tokens().len() == MOST, "one that was over gave way");
        let odd = (0..MOST).filter(|number| number % 2 == 1).map(|number| format!("t{number}"));
        let left: Vec<String> = one.machines.tokens().into_iter().map(|token| token.name).collect();
        odd.for_each(|name| assert!(left.contains(&name), "{name} is good"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_token_whose_record_nobody_can_read_is_good_for_nothing() {
        let home = tempfile::tempdir().unwrap();
        let ([mut one, _], _) = two(home.path()).await;
        let secret = make(&one, "mirror", None).await.unwrap();
        let broken = Txn::new().put("tokens/mirror", b"{\"name\":\"mirror\",\"revoked\":7}".to_vec());
        one.machines.state.commit(broken).await.unwrap();
        one.hear();
        assert_eq!(one.machines.token(PEER, &secret), Err(TokenRefused::Unknown));
    }
}
