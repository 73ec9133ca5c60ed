//! What a machine would boot, decided once for all that the status says of it.

use std::sync::Arc;

use oneroot_bootconf::Site;
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided::Decided;
use oneroot_bootconf::decision::{NoPlan, chosen, decide};
use oneroot_bootconf::gives::Gives;
use oneroot_bootconf::hardware::Claims;

use crate::machines::Machines;
use crate::status::behind::Looked;

/// What is decided right now of who asks.
pub(crate) struct Outlook {
    /// With all that is told of it, the network of its address among it.
    pub asked: Asked,
    /// What somebody has chosen in its menu.
    pub choice: Option<String>,
    /// The last word of the site's program; none where that is not known.
    pub said: Option<Option<Gives>>,
    pub decided: Result<Decided, NoPlan>,
}

impl Machines {
    /// What is decided of a machine with the last word of the site's program. A choice counts as made again, for as long as the
    /// menu has it.
    pub(crate) fn outlook(
        &self,
        site: &Site,
        looked: &mut Looked,
        asked: Asked,
        choice: Option<&str>,
    ) -> Outlook {
        let asked = located(site, asked);
        looked.decides();
        let catalogue = Catalogue::of(site).at(self.host.now());
        let said = self.program_said(&catalogue, &asked);
        let catalogue = match said.as_ref().and_then(Option::as_ref) {
            Some(gives) => catalogue.told(gives),
            None => catalogue,
        };
        let decided = match choice {
            Some(choice) => chosen(&catalogue, &asked, choice),
            None => decide(&catalogue, &asked),
        };
        Outlook { asked, choice: choice.map(str::to_owned), said, decided }
    }
}

/// The same with the network of its address, which every decision goes by: so that two who tell the same are alike, though what
/// one of them told was written down with it.
pub(crate) fn located(site: &Site, asked: Asked) -> Asked {
    let Some(address) = asked.address else { return asked };
    let location = site.located(asked.claims.location.clone(), address);
    let claims = Arc::new(Claims { location, ..Claims::clone(&asked.claims) });
    asked.telling(claims)
}
