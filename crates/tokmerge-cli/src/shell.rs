//! Commands as a shell takes them, for pages that name the one that made them.

/// As a shell takes it for one word.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-:@+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The command that is running, as a shell takes it, with what the environment says in front: variables that stand for flags.
pub(crate) fn command_line(variables: &[&str]) -> String {
    let said = |name: &&str| Some(format!("{name}={}", quoted(&std::env::var_os(name)?.to_string_lossy())));
    let variables = variables.iter().filter_map(said);
    let arguments = std::env::args_os().skip(1).map(|argument| quoted(&argument.to_string_lossy()));
    variables.chain(["tokmerge".to_owned()]).chain(arguments).collect::<Vec<_>>().join(" ")
}
