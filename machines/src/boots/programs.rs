//! The site's program as a boot asks it: about whom, with what, and what is done with its answer (docs/decisions/0014-decide.md).

use std::sync::Arc;

use oneroot_bootconf::Site;
use oneroot_bootconf::again::Ask;
use oneroot_bootconf::asked::{Asked, Catalogue, Who};
use oneroot_bootconf::gives::Gives;
use oneroot_bootconf::question::Question;
use oneroot_ids::Mac;

use crate::machines::Machines;
use crate::planner::asking;

impl Machines {
    /// What the program says of who asks; none where it is not asked, or has given no answer: then all others decide. A question
    /// for a script's length starts nothing.
    pub(crate) async fn program_says(
        &self,
        site: &Arc<Site>,
        catalogue: &Catalogue<'_>,
        asked: &Asked,
        ask: Ask,
    ) -> Option<Gives> {
        let (mac, kept, question) = asked_of(catalogue, asked)?;
        let answer = if ask == Ask::Length {
            self.asking.known(mac, &question, kept)?
        } else {
            let is_named = catalogue.machine(asked.who).is_some();
            // The run goes on when whoever asked is gone, so its check can't borrow this catalogue and has the site for
            // itself.
            let (site, asked, now) = (site.clone(), asked.clone(), catalogue.now());
            let check = move |answer: &[u8]| {
                let answered = Gives::answered_for(&Catalogue::of(&site).at(now), &asked, answer);
                answered.map(drop).map_err(|cause| cause.to_string())
            };
            let machine = self.name_of(mac);
            let asked = asking::Asked { mac, machine, question, is_named, kept, check: Box::new(check) };
            self.asking.ask(asked).await.ok()?
        };
        Gives::answered_for(catalogue, asked, &answer).ok()
    }

    /// Whether the program would have to be run before anything can be told a machine.
    pub(crate) fn would_ask(&self, catalogue: &Catalogue<'_>, asked: &Asked) -> bool {
        let asked = asked_of(catalogue, asked);
        asked.is_some_and(|(mac, kept, question)| self.asking.known(mac, &question, kept).is_none())
    }

    /// What a machine has booted by: nothing where the program has no say, the program's last answer where it has one; none
    /// where that is not known.
    pub(crate) fn program_said(&self, catalogue: &Catalogue<'_>, asked: &Asked) -> Option<Option<Gives>> {
        let Some((mac, ..)) = asked_of(catalogue, asked) else { return Some(None) };
        let answer = self.asking.last(mac)?;
        Some(Gives::answered_for(catalogue, asked, &answer).ok())
    }
}

/// The question about somebody, of which NIC, and for how long an answer counts; none where there is nothing to ask.
fn asked_of(catalogue: &Catalogue<'_>, asked: &Asked) -> Option<(Mac, u64, Vec<u8>)> {
    let Who::Nic(mac) = asked.who else { return None };
    let program = catalogue.program_for(asked)?;
    let location = catalogue.site().located(asked.claims.location.clone(), catalogue.address_of(asked));
    let question = Question::of(catalogue, asked, &asked.claims, &location)?;
    Some((mac, program.cache.into(), question.document()))
}
