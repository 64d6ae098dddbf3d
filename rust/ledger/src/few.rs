//! A list that mostly has one element and then costs no allocation: the lines of a hold, the holds of a command.

/// One or many. Empty lists are `Many` without allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Few<T> {
    /// Exactly one.
    One(T),
    /// Any other number.
    Many(Vec<T>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Few::Many(Vec::new())
    }
}

impl<T> Few<T> {
    /// Appends.
    #[inline]
    pub fn push(&mut self, value: T) {
        match self {
            Few::Many(list) if !list.is_empty() => list.push(value),
            Few::Many(_) => *self = Few::One(value),
            Few::One(_) => {
                let first = std::mem::take(self);
                *self = Few::Many(first.into_iter().chain([value]).collect());
            }
        }
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values = values.into_iter();
        let Some(first) = values.next() else { return Few::default() };
        match values.next() {
            None => Few::One(first),
            Some(second) => Few::Many([first, second].into_iter().chain(values).collect()),
        }
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Few::One(value) => (Some(value), Vec::new()),
            Few::Many(list) => (None, list),
        };
        one.into_iter().chain(many)
    }
}

impl<T> std::ops::Deref for Few<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Few::One(value) => std::slice::from_ref(value),
            Few::Many(list) => list,
        }
    }
}

impl<T> std::ops::DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Few::One(value) => std::slice::from_mut(value),
            Few::Many(list) => list,
        }
    }
}
