//! Rules against the other tables and against each other: names that must exist, and rules that can never count.

use crate::hardware::{Arch, Fact, Firmware};
use crate::site::draft::Draft;
use crate::site::rules::Rule;
use crate::site::section::Diagnostics;
use crate::site::table::Table;
use crate::site::validate::{hidden_alone, table_gives};
use crate::site::when::When;

/// Notes what is wrong with rules.
pub(crate) fn rules(draft: &Draft, diagnostics: &mut Diagnostics) {
    for (number, rule) in draft.rules.iter().enumerate() {
        table_gives(rule, &rule.value.gives, draft, diagnostics);
        hidden_alone(rule, &rule.value.gives, draft, diagnostics);
        let earlier = draft.rules.iter().take(number);
        let covers = |earlier: &&Table<Rule>| earlier.value.when.covers(&rule.value.when);
        let before = earlier.zip(1..).find(|(earlier, _)| covers(earlier));
        if let Some((_, other)) = before {
            let told = format!(
                "can never count: whatever it fits, [[rule]] {other} before it fits too; put this one first"
            );
            diagnostics.note(&rule.span, told);
        }
        for reason in never(&rule.value.when, draft) {
            diagnostics.note(&rule.span, format!("can never count: {reason}"));
        }
    }
}

/// Why a condition is never true.
fn never(when: &When, draft: &Draft) -> Vec<String> {
    let mut reasons = Vec::new();
    // Where it is not known which networks there are, none can be missing.
    if let (Some(wanted), false) = (when.networks(), draft.networks.is_empty() || draft.partial) {
        let is_served = draft
            .networks
            .iter()
            .any(|network| wanted.iter().any(|wanted| wanted.overlaps(network.value.subnet)));
        if !is_served {
            reasons.push("its network has no address of any [[network]]".to_owned());
        }
    }
    if let (Some(patterns), Some(server)) = (when.texts(Fact::Interface), &draft.server)
        && !server.interfaces.iter().any(|name| patterns.iter().any(|pattern| pattern.fits(name)))
    {
        reasons
            .push(format!("[server] has the interfaces {} and none of these", server.interfaces.join(", ")));
    }
    let fits = |fact, word| when.texts(fact).is_none_or(|all| all.iter().any(|one| one.fits(word)));
    let x86 = [Arch::I386, Arch::X86_64].into_iter().any(|arch| fits(Fact::Arch, arch.as_str()));
    if !x86 && !fits(Fact::Firmware, Firmware::Uefi.as_str()) {
        reasons.push("a BIOS is on x86 alone".to_owned());
    }
    reasons
}
