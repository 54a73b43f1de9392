//! Where addresses come from: arguments, a file, standard input.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::Path,
};

use super::super::Usage;

/// Bytes of a list of addresses: 100,000 long ones.
const LONGEST: u64 = 64 << 20;

/// One address as given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) text: String,
    /// `FILE:LINE: `, or nothing for an argument.
    pub(super) place: String,
}

/// The addresses of the arguments and of `file`; without either, those of standard input, unless that is a terminal.
pub(super) fn gather(urls: &[String], file: Option<&Path>) -> anyhow::Result<Vec<Input>> {
    let argument = |text: &String| Input {
        text: text.clone(),
        place: String::new(),
    };
    let mut inputs: Vec<_> = urls.iter().map(argument).collect();
    let piped = urls.is_empty() && !io::stdin().is_terminal();
    let (name, bytes) = match file {
        Some(path) if path != Path::new("-") => (
            path.display().to_string(),
            fs::File::open(path).and_then(read),
        ),
        None if !piped => return Ok(inputs),
        _ => ("standard input".to_owned(), read(io::stdin().lock())),
    };
    let bytes =
        bytes.map_err(|error| Usage(format!("cannot read the addresses of {name}: {error}")))?;
    inputs.extend(lines(&name, &String::from_utf8_lossy(&bytes)));
    Ok(inputs)
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The addresses of a text: one a line; empty lines and what follows a `#` at the start or after a space are left out.
fn lines(name: &str, text: &str) -> Vec<Input> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut inputs = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let comment = line
            .match_indices('#')
            .find(|(at, _)| line[..*at].ends_with(char::is_whitespace) || *at == 0);
        let line = comment.map_or(line, |(at, _)| &line[..at]).trim();
        if !line.is_empty() {
            inputs.push(Input {
                text: line.to_owned(),
                place: format!("{name}:{}: ", n + 1),
            });
        }
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_addresses_but_for_comments_and_empty_ones() {
        let text = "\u{feff}# mine\r\n a.org/x#top  # the best\r\n\r\n\tb.org\n#c.org\nd.org#e";
        let found: Vec<_> = lines("f", text)
            .into_iter()
            .map(|i| (i.place, i.text))
            .collect();
        let wanted = [
            ("f:2: ", "a.org/x#top"),
            ("f:4: ", "b.org"),
            ("f:6: ", "d.org#e"),
        ];
        assert_eq!(
            found,
            wanted.map(|(place, text)| (place.to_owned(), text.to_owned()))
        );
    }
}
