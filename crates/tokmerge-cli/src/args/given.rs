//! Flags that the user gave, to refuse those that would do nothing.

use anyhow::{Result, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use std::fmt::Display;

/// The arguments that stand on the command line; defaults and environment variables do not count. A command has it as its
/// first field, since those that follow take their values away.
#[derive(Debug, Default)]
pub(crate) struct Given(Vec<String>);

impl Given {
    /// Refuses the first of some flags, by their fields' names, that was given. The rule follows the flag's name: `is for
    /// images, and ...`.
    pub(crate) fn refuse(&self, fields: &[&str], rule: impl Display) -> Result<()> {
        match fields.iter().find(|field| self.0.iter().any(|given| given == *field)) {
            Some(field) => bail!("--{} {rule}; leave it out", field.replace('_', "-")),
            None => Ok(()),
        }
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let on_the_line = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        Ok(Self(matches.ids().map(clap::Id::as_str).filter(on_the_line).map(str::to_owned).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// None of its own.
impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

#[cfg(test)]
mod tests {
    use super::Given;
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        given: Given,
        #[arg(long, default_value_t = 3)]
        most_words: usize,
        #[arg(long)]
        quick: bool,
    }

    #[test]
    fn flags_on_the_line_are_refused_and_defaults_are_not() {
        let refuse = |line: &[&str]| {
            let line = Line::parse_from(line);
            assert!(line.quick || line.most_words == 3);
            line.given.refuse(&["quick", "most_words"], "is for others").map_err(|error| error.to_string())
        };
        assert_eq!(refuse(&["it"]), Ok(()));
        let most = "--most-words is for others; leave it out";
        assert_eq!(refuse(&["it", "--most-words", "3"]), Err(most.to_owned()));
        assert_eq!(refuse(&["it", "--quick"]), Err("--quick is for others; leave it out".to_owned()));
    }
}
