//! The functions of the journal as the simulated server runs them, line by line what their code in Lua says. That they answer
//! alike is proved against a real server (`tests/redis_semantics.rs`). Those of snapshots are not here: nothing is trimmed.

use redis::Value;

use super::dataset::{Bytes, Dataset, Id, Refusal, Write};

const VERSION: &[u8] = b"2";
/// How the code checks who writes; a bug on purpose takes it out.
const FENCE: &str = "state[1] ~= owner or state[2] ~= epoch";
const FIELDS: [&str; 5] = ["owner", "epoch", "last", "chain", "entries"];

/// A call: what it answers and what it changes.
pub type Called = Result<(Value, Vec<Write>), Refusal>;

/// What the state says, in the order of the answers.
type State = [Bytes; 5];

struct Call<'c> {
    data: &'c Dataset,
    state_key: &'c [u8],
    frames_key: &'c [u8],
    args: &'c [&'c [u8]],
}

/// Calls a function; `words` follow its name.
pub fn call(data: &Dataset, name: &[u8], words: &[&[u8]]) -> Called {
    let known = data.library().filter(|_| ACTS.iter().any(|(known, _)| known.as_bytes() == name));
    let (Some(code), [b"2", state_key, frames_key, args @ ..]) = (known, words) else {
        return Err("ERR Function not found".into());
    };
    if args.first() != Some(&VERSION) {
        return Ok((answer("VERSION", &[VERSION]), Vec::new()));
    }
    let call = Call { data, state_key, frames_key, args };
    let act = ACTS.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, act)| act);
    let fenced = std::str::from_utf8(code).is_ok_and(|code| code.contains(FENCE));
    act.map_or_else(|| Err("ERR Function not found".into()), |act| act(&call, fenced))
}

type Act = fn(&Call<'_>, bool) -> Called;

const ACTS: [(&str, Act); 5] = [
    ("invengine_append", append),
    ("invengine_claim", claim),
    ("invengine_seal", seal),
    ("invengine_resume", resume),
    ("invengine_room", |_, _| Ok((answer("OK", &[]), Vec::new()))),
];

fn answer(status: &str, words: &[&[u8]]) -> Value {
    let mut all = vec![Value::BulkString(status.into())];
    all.extend(words.iter().map(|word| Value::BulkString(word.to_vec())));
    Value::Array(all)
}

fn told(status: &str, state: &State) -> Called {
    let words: Vec<&[u8]> = state.iter().map(|word| &**word).collect();
    Ok((answer(status, &words), Vec::new()))
}

fn nothing() -> State {
    ["", "0", "0", "", "0"].map(|word| Bytes::from(word.as_bytes()))
}

impl Call<'_> {
    fn word(&self, place: usize) -> &[u8] {
        self.args.get(place - 1).copied().unwrap_or_default()
    }

    /// The state, or nothing if a field of it is missing.
    fn stored(&self) -> Result<Option<State>, Refusal> {
        let mut found = Vec::with_capacity(FIELDS.len());
        for field in FIELDS {
            match self.data.field(self.state_key, field)? {
                Some(value) => found.push(value.clone()),
                None => return Ok(None),
            }
        }
        Ok(found.try_into().ok())
    }

    fn entries(&self) -> Result<Bytes, Refusal> {
        Ok(Bytes::from(self.data.length(self.frames_key)?.to_string().into_bytes()))
    }

    /// Why this caller may not write, or the state if it may.
    fn admitted(&self, fenced: bool) -> Result<Result<State, Value>, Refusal> {
        let Some(state) = self.stored()? else {
            return told("GONE", &nothing()).map(|(value, _)| Err(value));
        };
        if fenced && (*state[0] != *self.word(2) || *state[1] != *self.word(3)) {
            return told("FENCED", &state).map(|(value, _)| Err(value));
        }
        self.whole(state)
    }

    /// The state, unless entries are missing or too many.
    fn whole(&self, state: State) -> Result<Result<State, Value>, Refusal> {
        let entries = self.entries()?;
        if entries == state[4] {
            return Ok(Ok(state));
        }
        let [owner, epoch, last, chain, _] = state;
        told("DAMAGED", &[owner, epoch, last, chain, entries]).map(|(value, _)| Err(value))
    }

    fn ends_at(&self, state: &State, place: usize) -> bool {
        (0..3).all(|offset| *state[2 + offset] == *self.word(place + offset))
    }

    fn set(&self, fields: &[(&str, &[u8])]) -> Write {
        let pair = |field: &(&str, &[u8])| (Bytes::from(field.0.as_bytes()), Bytes::from(field.1));
        Write::Set { key: self.state_key.into(), fields: fields.iter().map(pair).collect() }
    }

    fn write(&self, fields: &[(&str, &[u8])]) -> Called {
        let id = Id::parse(self.word(10))?;
        self.data.check_add(self.frames_key, id)?;
        let add = Write::Add { key: self.frames_key.into(), id, frame: self.word(11).into() };
        Ok((answer("OK", &[]), vec![add, self.set(fields)]))
    }
}

fn append(call: &Call<'_>, fenced: bool) -> Called {
    let state = match call.admitted(fenced)? {
        Ok(state) => state,
        Err(no) => return Ok((no, Vec::new())),
    };
    if call.ends_at(&state, 7) {
        return told("OK", &state);
    }
    if !call.ends_at(&state, 4) {
        return told("ELSEWHERE", &state);
    }
    call.write(&[("last", call.word(7)), ("chain", call.word(8)), ("entries", call.word(9))])
}

fn claim(call: &Call<'_>, _: bool) -> Called {
    let state = match call.whole(call.stored()?.unwrap_or_else(nothing))? {
        Ok(state) => state,
        Err(no) => return Ok((no, Vec::new())),
    };
    if *state[1] != *call.word(4) || !call.ends_at(&state, 5) {
        return told("ELSEWHERE", &state);
    }
    call.write(&[
        ("owner", call.word(2)),
        ("epoch", call.word(3)),
        ("last", call.word(5)),
        ("chain", call.word(8)),
        ("entries", call.word(9)),
        ("ledger", call.word(12)),
        ("format", call.word(13)),
    ])
}

fn seal(call: &Call<'_>, _: bool) -> Called {
    match call.stored()? {
        None => told("GONE", &nothing()),
        Some(_) => Ok((answer("OK", &[]), vec![call.set(&[("owner", call.word(2))])])),
    }
}

fn resume(call: &Call<'_>, fenced: bool) -> Called {
    let state = match call.admitted(fenced)? {
        Ok(state) => state,
        Err(no) => return Ok((no, Vec::new())),
    };
    let (value, _) = told("OK", &state)?;
    Ok((value, vec![call.set(&[("owner", call.word(2))])]))
}
