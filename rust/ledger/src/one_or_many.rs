//! A list that usually has one element and then needs no allocation: the lines of a hold, the holds of a command.

/// One element, or any other number of them. An empty list is `Many` without an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneOrMany<T> {
    /// Exactly one.
    One(T),
    /// Any other number.
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    /// Appends an element.
    #[inline]
    pub fn push(&mut self, value: T) {
        match self {
            OneOrMany::Many(list) if !list.is_empty() => list.push(value),
            OneOrMany::Many(_) => *self = OneOrMany::One(value),
            OneOrMany::One(_) => {
                let first = std::mem::take(self);
                *self = OneOrMany::Many(first.into_iter().chain([value]).collect());
            }
        }
    }
}

impl<T> FromIterator<T> for OneOrMany<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values = values.into_iter();
        let Some(first) = values.next() else { return OneOrMany::default() };
        match values.next() {
            None => OneOrMany::One(first),
            Some(second) => OneOrMany::Many([first, second].into_iter().chain(values).collect()),
        }
    }
}

impl<T> IntoIterator for OneOrMany<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            OneOrMany::One(value) => (Some(value), Vec::new()),
            OneOrMany::Many(list) => (None, list),
        };
        one.into_iter().chain(many)
    }
}

impl<T> std::ops::Deref for OneOrMany<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            OneOrMany::One(value) => std::slice::from_ref(value),
            OneOrMany::Many(list) => list,
        }
    }
}

impl<T> std::ops::DerefMut for OneOrMany<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            OneOrMany::One(value) => std::slice::from_mut(value),
            OneOrMany::Many(list) => list,
        }
    }
}
