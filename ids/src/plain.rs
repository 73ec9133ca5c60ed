//! Characters that may be shown to people out of texts of others: none that a terminal obeys, none that is not seen (Unicode's
//! category Cf, UAX 9 for the direction of writing). One list, for the log, the terminal and what machines report.

/// Format characters (Unicode's category Cf) and the separators of lines and paragraphs: they turn the direction of text,
/// join it, or hide in it.
const UNSEEN: [(char, char); 18] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e007f}'),
];

/// Whether a character is shown as it is.
#[must_use]
pub fn is_plain(char: char) -> bool {
    !char.is_control() && !UNSEEN.iter().any(|(from, to)| (*from..=*to).contains(&char))
}
