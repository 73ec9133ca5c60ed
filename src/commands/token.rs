//! `oneroot token new`, `list`, `revoke`: who else than machines may have a tree. The running server keeps them.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use oneroot_bootconf::Site;
use oneroot_ids::Mac;
use oneroot_machines::{TokenStatus, TokenView, TokenWanted};
use serde::Serialize;

use super::in_force::in_force;
use super::mapping::who;
use super::status::age;
use super::{generations, meant, running};
use crate::cli::token::NewToken;
use crate::clock;
use crate::control::{self, TokenChange, TokenChanged};
use crate::print::{Document, Page};

/// A token that was made. Its secret is nowhere else.
#[derive(Serialize)]
pub struct Made {
    token: TokenStatus,
    secret: String,
}

impl Document for Made {
    fn page(&self) -> Page {
        let mut page = Page::default();
        page.line(&self.secret);
        let TokenStatus { name, .. } = &self.token;
        page.trouble(format_args!(
            "token {name} is good for {}{}; its secret is shown this once, so keep it in a file that only its user can read",
            views(&self.token),
            end(&self.token)
        ));
        page
    }
}

/// A token that was revoked.
#[derive(Serialize)]
pub struct Revoked {
    token: TokenStatus,
}

impl Document for Revoked {
    fn page(&self) -> Page {
        let TokenStatus { name, revoked, .. } = &self.token;
        let by = revoked.as_ref().map(|signed| format!(" (by {})", signed.by)).unwrap_or_default();
        Page::of_line(format_args!("token {name} is revoked{by}: it is good for nothing"))
    }
}

/// All tokens.
#[derive(Serialize)]
pub struct Tokens {
    tokens: Vec<TokenStatus>,
}

impl Document for Tokens {
    fn page(&self) -> Page {
        let now = clock::since_1970().as_secs();
        let mut rows = vec![["TOKEN", "GOOD FOR", "UNTIL", "MADE"].map(str::to_owned)];
        rows.extend(self.tokens.iter().map(|token| {
            let until = match (&token.revoked, token.expires) {
                (Some(revoked), _) => format!("revoked by {}", revoked.by),
                (None, Some(_)) if token.expired => "expired".to_owned(),
                (None, Some(end)) => format!("in {}", age(end.saturating_sub(now))),
                (None, None) => "no end".to_owned(),
            };
            let made = format!("{} ago by {}", age(now.saturating_sub(token.made.at)), token.made.by);
            [token.name.clone(), views(token), until, made]
        }));
        let mut page = Page::default();
        page.rows(&rows);
        page
    }
}

fn views(token: &TokenStatus) -> String {
    token.views.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn end(token: &TokenStatus) -> String {
    let left = token.expires.map(|end| age(end.saturating_sub(clock::since_1970().as_secs())));
    left.map_or_else(|| " until it is revoked".to_owned(), |left| format!(" for {left}"))
}

/// `oneroot token new`.
pub fn new(site: &Site, asked: &NewToken) -> Result<Made> {
    let mapped = in_force(site)?.site;
    let views = asked.views.iter().map(|what| view(&mapped, what)).collect::<Result<Vec<_>>>()?;
    let lasts = asked.expires.map(|lasts| lasts.as_secs());
    let wanted = TokenWanted { name: asked.name.clone(), views, lasts };
    match change(&site.server.state, TokenChange::New(wanted))? {
        (token, Some(secret)) => Ok(Made { token, secret }),
        (_, None) => bail!("the server has told no secret; is it another version?"),
    }
}

/// `oneroot token revoke`.
pub fn revoke(state: &Path, name: &str) -> Result<Revoked> {
    change(state, TokenChange::Revoke(name.to_owned())).map(|(token, _)| Revoked { token })
}

/// `oneroot token list`.
pub fn list(state: &Path) -> Result<Tokens> {
    Ok(Tokens { tokens: running(state, control::ask_tokens(state)?)? })
}

fn change(state: &Path, change: TokenChange) -> Result<(TokenStatus, Option<String>)> {
    match running(state, control::ask_token_change(state, change, who())?)? {
        TokenChanged { error: Some(error), .. } => bail!(error),
        TokenChanged { token, secret, .. } => Ok((token.context("the server has told of no token")?, secret)),
    }
}

/// What somebody means by a word: a machine before a profile of the same name, as `export` takes it.
fn view(site: &Site, what: &str) -> Result<TokenView> {
    if let Some((name, _)) = site.machines.get_key_value(what) {
        return Ok(TokenView::Machine(name.clone()));
    }
    if let Some((name, _)) = what.parse::<Mac>().ok().and_then(|mac| site.machine(mac)) {
        return Ok(TokenView::Machine(name.to_owned()));
    }
    if site.profiles.contains_key(what) {
        return Ok(TokenView::Profile(what.to_owned()));
    }
    let found = match what.split_once('@') {
        Some((profile, generation)) => generations::of_this_profile(site, profile, generation),
        None => generations::of_profile(site, what),
    };
    let names = || site.machines.keys().chain(site.profiles.keys()).cloned();
    let (profile, generation) = found.with_context(|| {
        format!("{what:?} is no machine, profile or PROFILE@GENERATION of the site{}", meant(what, names()))
    })?;
    Ok(TokenView::Generation { profile, generation })
}
