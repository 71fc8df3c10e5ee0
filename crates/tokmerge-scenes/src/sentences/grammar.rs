//! What a sentence says, and how either language says it.

use super::lexicon::{
    self, ADJECTIVES, ADVERBS, ARTICLES, CONJUNCTIONS, NOUNS, OBJECT, PREPOSITIONS, RELATIVE, STOP, THAT,
    TIMES, VERBS,
};
use crate::random::Random;

/// Of a noun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gender {
    First,
    Second,
    Third,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    One,
    Many,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tense {
    Past,
    Present,
    Future,
}

/// What other words take over from a noun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    pub(super) gender: Gender,
    pub(super) number: Number,
}

impl Agreement {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let genders = [Gender::First, Gender::Second, Gender::Third];
        let numbers = [Number::One, Number::Many];
        genders.into_iter().flat_map(move |gender| numbers.map(|number| Self { gender, number }))
    }
}

/// Clauses, each but the first with what joins it to the one before.
#[derive(Clone, Debug)]
pub(super) struct Sentence {
    clauses: Vec<(usize, Clause)>,
}

#[derive(Clone, Debug)]
struct Clause {
    /// Index into [`TIMES`]; the present without one.
    time: Option<usize>,
    subject: Phrase,
    verb: usize,
    adverb: Option<usize>,
    object: Phrase,
    place: Option<(usize, Phrase)>,
}

/// An article, adjectives, a noun, and what is said of it.
#[derive(Clone, Debug)]
struct Phrase {
    number: Number,
    is_definite: bool,
    adjectives: Vec<usize>,
    noun: usize,
    /// That it does something to something else.
    relative: Option<Box<(usize, Phrase)>>,
}

impl Sentence {
    pub(super) fn random(random: &mut Random) -> Self {
        let count = 1 + random.weighted(&[40, 40, 20]);
        Self {
            clauses: (0..count).map(|_| (random.below(CONJUNCTIONS.len()), Clause::random(random))).collect(),
        }
    }

    /// In the first language.
    pub(super) fn first(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (index, (conjunction, clause)) in self.clauses.iter().enumerate() {
            if index > 0 {
                words.push(CONJUNCTIONS[*conjunction].to_owned());
            }
            clause.first(&mut words);
        }
        words.push(STOP.to_owned());
        words
    }

    /// In the second.
    pub(super) fn second(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (index, (conjunction, clause)) in self.clauses.iter().enumerate() {
            clause.second(&mut words);
            // What joins stands behind the clause that is joined.
            if index > 0 {
                words.push(lexicon::conjunction(*conjunction));
            }
        }
        words.push(STOP.to_owned());
        words
    }
}

impl Clause {
    fn random(random: &mut Random) -> Self {
        Self {
            time: random.chance(70).then(|| random.below(TIMES.len())),
            subject: Phrase::random(random, 35),
            verb: random.below(VERBS.len()),
            adverb: random.chance(30).then(|| random.below(ADVERBS.len())),
            object: Phrase::random(random, 20),
            place: random.chance(35).then(|| (random.below(PREPOSITIONS.len()), Phrase::random(random, 0))),
        }
    }

    fn first(&self, words: &mut Vec<String>) {
        words.extend(self.time.map(|time| TIMES[time].0.to_owned()));
        self.subject.first(words);
        words.extend(self.adverb.map(|adverb| ADVERBS[adverb].to_owned()));
        words.push(VERBS[self.verb].to_owned());
        self.object.first(words);
        if let Some((preposition, phrase)) = &self.place {
            words.push(PREPOSITIONS[*preposition].to_owned());
            phrase.first(words);
        }
    }

    fn second(&self, words: &mut Vec<String>) {
        let tense = self.time.map_or(Tense::Present, |time| TIMES[time].1);
        self.subject.second(tense, words);
        if let Some((preposition, phrase)) = &self.place {
            phrase.second(tense, words);
            words.push(lexicon::preposition(*preposition));
        }
        self.object.second(tense, words);
        words.push(OBJECT.to_owned());
        words.extend(self.adverb.map(lexicon::adverb));
        words.push(lexicon::verb(self.verb));
        words.push(lexicon::verb_ending(tense, self.subject.agreement()));
    }
}

impl Phrase {
    /// With a relative clause in `percent` of all cases.
    fn random(random: &mut Random, percent: usize) -> Self {
        let count = random.weighted(&[45, 40, 15]);
        Self {
            number: if random.chance(50) { Number::One } else { Number::Many },
            is_definite: random.chance(50),
            adjectives: (0..count).map(|_| random.below(ADJECTIVES.len())).collect(),
            noun: random.below(NOUNS.len()),
            relative: random
                .chance(percent)
                .then(|| Box::new((random.below(VERBS.len()), Self::random(random, 0)))),
        }
    }

    fn agreement(&self) -> Agreement {
        let gender = match self.noun % 3 {
            0 => Gender::First,
            1 => Gender::Second,
            _ => Gender::Third,
        };
        Agreement { gender, number: self.number }
    }

    fn first(&self, words: &mut Vec<String>) {
        let many = usize::from(self.number == Number::Many);
        words.push(ARTICLES[2 * many + usize::from(self.is_definite)].to_owned());
        words.extend(self.adjectives.iter().map(|adjective| ADJECTIVES[*adjective].to_owned()));
        words.push(NOUNS[self.noun].to_owned());
        if let Some(relative) = &self.relative {
            let (verb, phrase) = relative.as_ref();
            words.extend([THAT, VERBS[*verb]].map(str::to_owned));
            phrase.first(words);
        }
    }

    fn second(&self, tense: Tense, words: &mut Vec<String>) {
        let agreement = self.agreement();
        if let Some(relative) = &self.relative {
            let (verb, phrase) = relative.as_ref();
            phrase.second(tense, words);
            words.push(OBJECT.to_owned());
            words.push(lexicon::verb(*verb));
            words.push(lexicon::verb_ending(tense, agreement));
            words.push(RELATIVE.to_owned());
        }
        words.push(lexicon::noun(self.noun));
        words.extend(self.adjectives.iter().rev().map(|index| lexicon::adjective(*index, agreement)));
        words.push(lexicon::article(self.is_definite, agreement));
    }
}

#[cfg(test)]
mod tests {
    use super::{Clause, Number, Phrase, Sentence};

    fn phrase(noun: usize, number: Number, adjectives: &[usize]) -> Phrase {
        Phrase { number, is_definite: true, adjectives: adjectives.to_vec(), noun, relative: None }
    }

    /// By hand, from the rules.
    #[test]
    fn endings_agree_and_the_order_is_another() {
        let mut subject = phrase(0, Number::Many, &[0, 1]);
        subject.relative = Some(Box::new((0, phrase(1, Number::One, &[]))));
        let (object, place) = (phrase(2, Number::One, &[]), None);
        let clause = Clause { time: Some(0), subject, verb: 3, adverb: Some(0), object, place };
        let sentence = Sentence { clauses: vec![(0, clause)] };
        assert_eq!(
            sentence.first().join(" "),
            "yesterday these red old fox that see the king slowly follow the boat ."
        );
        // King is of the second gender, boat of the third; fox of the first, and there are many.
        let words = sentence.second();
        let endings: Vec<&str> = words.iter().map(|word| &word[word.len() - 1..]).collect();
        let expected = "n o o r i e n i i i n u o s r i .";
        assert_eq!(endings.join(" "), expected, "{words:?}");
        assert_eq!([&words[1], &words[4], &words[9], &words[15]], ["ho", "tiai", "hai", "tiai"]);
        assert_eq!((words[2].as_str(), words[5].as_str()), ("wo", "ke"));
        assert!(words[7].ends_with("lai") && words[8].ends_with("lai") && words[7] != words[8]);
    }
}
