//! Who has a say in what a machine boots: each table that is about it, the nearest first (docs/decisions/0012).

use std::path::Path;

use crate::decide::asked::{Asked, Catalogue};
use crate::site::assignment::Assignment;
use crate::site::gives::{Boots, Gives};
use crate::site::menus::Choice;
use crate::site::rules::Rule;

/// One table of the site, or what somebody has assigned, as far as it is about the machine that asks.
#[derive(Debug, Default)]
pub struct Voice<'c> {
    /// What it is called in `explain`.
    pub from: String,
    /// What it gives; none where it says no more than what is booted.
    pub gives: Option<&'c Gives>,
    /// What it says is booted, where that stands apart.
    boots: Option<&'c Boots>,
    /// The assignment, where it is one.
    pub assigned: Option<&'c Assignment>,
    /// The name of the group that it is.
    pub group: Option<&'c str>,
    /// The rule that it is.
    pub rule: Option<&'c Rule>,
    /// Whether it is shown and gives nothing.
    pub is_mute: bool,
    /// The machine's own name and files, where it is the machine's own table.
    pub layer: Option<(&'c str, &'c Path)>,
}

impl<'c> Voice<'c> {
    fn giving(from: String, gives: &'c Gives) -> Self {
        Self { from, gives: Some(gives), ..Self::default() }
    }

    /// What somebody has chosen in a menu.
    pub(crate) fn chosen(menu: &str, choice: &'c Choice) -> Self {
        Self::giving(format!("[menu.{menu}], choice {}", choice.name), &choice.gives)
    }

    /// What it says is booted.
    #[must_use]
    pub fn boots(&self) -> Option<&'c Boots> {
        self.boots.or_else(|| self.gives?.boots.as_ref())
    }
}

impl<'c> Catalogue<'c> {
    /// All that have a say in what somebody boots, in the order in which they count: what was assigned, the machine's own table,
    /// the site's program where it was asked, the rule that fits it, its groups in the order of the site, and what is said of those that nobody
    /// has named.
    #[must_use]
    pub fn voices(&self, asked: &Asked) -> Vec<Voice<'c>> {
        let known = self.machine(asked.who);
        let mut voices = self.nearer(asked);
        // Before the program has its say, for to that a rule adds.
        let is_said = voices.iter().any(|voice| voice.boots().is_some());
        voices.extend(self.program_says().map(|gives| Voice::giving("the decide program".to_owned(), gives)));
        // What anybody can tell changes nothing of a machine of which somebody has said what it boots.
        if let Some((number, rule)) = self.rule_of(asked) {
            let voice = Voice::giving(format!("[[rule]] {number} (line {})", rule.line), &rule.gives);
            voices.push(Voice { rule: Some(rule), is_mute: is_said, ..voice });
        }
        for (name, group) in self.groups_of(asked) {
            let voice = Voice::giving(format!("[group.{name}]"), &group.gives);
            voices.push(Voice { group: Some(name), ..voice });
        }
        if let Some(boots) = self.site().unknown.as_ref().filter(|_| known.is_none()) {
            let from = "[unknown]".to_owned();
            voices.push(Voice { from, boots: Some(boots), ..Voice::default() });
        }
        voices
    }

    /// Those that come before the site's program: it is not asked where one of them says what is booted.
    pub(crate) fn nearer(&self, asked: &Asked) -> Vec<Voice<'c>> {
        let mut voices = Vec::new();
        let Some((name, machine)) = self.machine(asked.who) else { return voices };
        let assigned = machine.for_now.iter().chain(&machine.assigned);
        for assigned in assigned.filter(|assigned| !assigned.is_over(self.now())) {
            let (by, for_now) = (&assigned.signed.by, if assigned.lasts() { "" } else { " for now" });
            let voice = Voice::giving(format!("assigned{for_now} by {by}"), &assigned.gives);
            voices.push(Voice { assigned: Some(assigned), ..voice });
        }
        let layer = machine.layer.as_deref().map(|path| (name, path));
        voices.push(Voice { layer, ..Voice::giving(format!("[machine.{name}]"), &machine.gives) });
        voices
    }
}
