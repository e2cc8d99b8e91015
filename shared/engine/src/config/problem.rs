//! What is wrong with a file or a sync, all of it at once.

use std::fmt;

use crate::Failure;

/// Everything that is wrong with the file of a sync.
///
/// Its `Display` is for people: each problem with the line it is about and a caret under the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file, as its name was given.
    pub file: String,
    /// At least one, in the order of the file.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key it is about, from the top of the file: `schedule.cron`; empty for the file as a whole.
    pub path: String,
    /// A lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where it is written; none when the file has no such place.
    pub place: Option<Place>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// Characters that are meant; at least one.
    pub length: usize,
    /// The text of the line.
    pub text: String,
}

impl Problem {
    /// A problem with the value of a key, without a place.
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), hint: None, place: None }
    }

    /// The same problem with advice.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The problem in one line, with its key in front.
    fn line(&self) -> String {
        match self.path.as_str() {
            "" => self.message.clone(),
            path => format!("`{path}`: {}", self.message),
        }
    }
}

/// One failure for all problems; none when there are none.
pub(crate) fn failure(problems: &[Problem]) -> Option<Failure> {
    match problems {
        [] => None,
        [one] => {
            let failure = Failure::configuration(one.line());
            Some(match &one.hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
        many => Some(Failure::configuration(list(many))),
    }
}

fn list(problems: &[Problem]) -> String {
    let mut text = format!("{} problems", problems.len());
    for problem in problems {
        text.push_str("\n- ");
        text.push_str(&problem.line());
        if let Some(hint) = &problem.hint {
            text.push_str(&format!(" (hint: {hint})"));
        }
    }
    text
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            match &problem.place {
                Some(place) => self.with_snippet(f, problem, place)?,
                None => self.without_snippet(f, problem)?,
            }
        }
        Ok(())
    }
}

impl ConfigErrors {
    fn with_snippet(&self, f: &mut fmt::Formatter<'_>, problem: &Problem, place: &Place) -> fmt::Result {
        let Place { line, column, length, text } = place;
        let gutter = " ".repeat(line.to_string().len());
        let indent: String =
            text.chars().take(column.saturating_sub(1)).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, "error: {}:{line}:{column}", self.file)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{line} | {text}")?;
        writeln!(f, "{gutter} | {indent}{} {}", "^".repeat(*length), problem.message)?;
        match &problem.hint {
            Some(hint) => writeln!(f, "{gutter} = hint: {hint}"),
            None => Ok(()),
        }
    }

    fn without_snippet(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        writeln!(f, "error: {}: {}", self.file, problem.line())?;
        match &problem.hint {
            Some(hint) => writeln!(f, "  = hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        let placed: Vec<Problem> = errors.problems.iter().map(with_line).collect();
        failure(&placed)
            .unwrap_or_else(|| Self::bug("no problem was found, and yet there are errors"))
            .at(format!("`{}`", errors.file))
    }
}

fn with_line(problem: &Problem) -> Problem {
    let mut problem = problem.clone();
    if let Some(place) = &problem.place {
        problem.message = format!("{} (line {}, column {})", problem.message, place.line, place.column);
    }
    problem
}
