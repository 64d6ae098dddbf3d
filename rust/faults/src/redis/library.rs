//! The functions of the journal as the simulated server runs them, line by line as in their Lua code. That they answer alike
//! is tested against a real server (`tests/redis_semantics.rs`). The functions for snapshots are not implemented: nothing is
//! trimmed.

use redis::Value;

use super::dataset::{Bytes, Dataset, ErrorReply, StreamId, Write};

const VERSION: &[u8] = b"2";
/// How the Lua code checks the writer; a planted bug removes it.
const FENCE: &str = "state[1] ~= owner or state[2] ~= epoch";
const FIELDS: [&str; 5] = ["owner", "epoch", "last", "chain", "entries"];

/// The reply of a call and the changes it makes.
pub type CallResult = Result<(Value, Vec<Write>), ErrorReply>;

/// The fields of the state, in the order of the replies.
type State = [Bytes; 5];

struct Call<'c> {
    data: &'c Dataset,
    state_key: &'c [u8],
    frames_key: &'c [u8],
    args: &'c [&'c [u8]],
}

/// Calls a function; `words` follow its name.
pub fn call(data: &Dataset, name: &[u8], words: &[&[u8]]) -> CallResult {
    let known = data.library().filter(|_| FUNCTIONS.iter().any(|(known, _)| known.as_bytes() == name));
    let (Some(code), [b"2", state_key, frames_key, args @ ..]) = (known, words) else {
        return Err("ERR Function not found".into());
    };
    if args.first() != Some(&VERSION) {
        return Ok((answer("VERSION", &[VERSION]), Vec::new()));
    }
    let call = Call { data, state_key, frames_key, args };
    let function = FUNCTIONS.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, function)| function);
    let fenced = std::str::from_utf8(code).is_ok_and(|code| code.contains(FENCE));
    function.map_or_else(|| Err("ERR Function not found".into()), |function| function(&call, fenced))
}

type Function = fn(&Call<'_>, bool) -> CallResult;

const FUNCTIONS: [(&str, Function); 5] = [
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

fn reply_with_state(status: &str, state: &State) -> CallResult {
    let words: Vec<&[u8]> = state.iter().map(|word| &**word).collect();
    Ok((answer(status, &words), Vec::new()))
}

fn empty_state() -> State {
    ["", "0", "0", "", "0"].map(|word| Bytes::from(word.as_bytes()))
}

impl Call<'_> {
    fn argument(&self, index: usize) -> &[u8] {
        self.args.get(index - 1).copied().unwrap_or_default()
    }

    /// The stored state; `None` if a field is missing.
    fn stored(&self) -> Result<Option<State>, ErrorReply> {
        let mut found = Vec::with_capacity(FIELDS.len());
        for field in FIELDS {
            match self.data.field(self.state_key, field)? {
                Some(value) => found.push(value.clone()),
                None => return Ok(None),
            }
        }
        Ok(found.try_into().ok())
    }

    fn entries(&self) -> Result<Bytes, ErrorReply> {
        Ok(Bytes::from(self.data.length(self.frames_key)?.to_string().into_bytes()))
    }

    /// The state, or the reply that refuses this writer.
    fn check_writer(&self, fenced: bool) -> Result<Result<State, Value>, ErrorReply> {
        let Some(state) = self.stored()? else {
            return reply_with_state("GONE", &empty_state()).map(|(value, _)| Err(value));
        };
        if fenced && (*state[0] != *self.argument(2) || *state[1] != *self.argument(3)) {
            return reply_with_state("FENCED", &state).map(|(value, _)| Err(value));
        }
        self.with_all_entries(state)
    }

    /// The state, or a reply if entries are missing or there are too many.
    fn with_all_entries(&self, state: State) -> Result<Result<State, Value>, ErrorReply> {
        let entries = self.entries()?;
        if entries == state[4] {
            return Ok(Ok(state));
        }
        let [owner, epoch, last, chain, _] = state;
        reply_with_state("DAMAGED", &[owner, epoch, last, chain, entries]).map(|(value, _)| Err(value))
    }

    fn ends_at(&self, state: &State, index: usize) -> bool {
        (0..3).all(|offset| *state[2 + offset] == *self.argument(index + offset))
    }

    fn set(&self, fields: &[(&str, &[u8])]) -> Write {
        let pair = |field: &(&str, &[u8])| (Bytes::from(field.0.as_bytes()), Bytes::from(field.1));
        Write::Set { key: self.state_key.into(), fields: fields.iter().map(pair).collect() }
    }

    fn write(&self, fields: &[(&str, &[u8])]) -> CallResult {
        let id = StreamId::parse(self.argument(10))?;
        self.data.check_add(self.frames_key, id)?;
        let add = Write::Add { key: self.frames_key.into(), id, frame: self.argument(11).into() };
        Ok((answer("OK", &[]), vec![add, self.set(fields)]))
    }
}

fn append(call: &Call<'_>, fenced: bool) -> CallResult {
    let state = match call.check_writer(fenced)? {
        Ok(state) => state,
        Err(rejection) => return Ok((rejection, Vec::new())),
    };
    if call.ends_at(&state, 7) {
        return reply_with_state("OK", &state);
    }
    if !call.ends_at(&state, 4) {
        return reply_with_state("ELSEWHERE", &state);
    }
    call.write(&[("last", call.argument(7)), ("chain", call.argument(8)), ("entries", call.argument(9))])
}

fn claim(call: &Call<'_>, _: bool) -> CallResult {
    let state = match call.with_all_entries(call.stored()?.unwrap_or_else(empty_state))? {
        Ok(state) => state,
        Err(rejection) => return Ok((rejection, Vec::new())),
    };
    if *state[1] != *call.argument(4) || !call.ends_at(&state, 5) {
        return reply_with_state("ELSEWHERE", &state);
    }
    call.write(&[
        ("owner", call.argument(2)),
        ("epoch", call.argument(3)),
        ("last", call.argument(5)),
        ("chain", call.argument(8)),
        ("entries", call.argument(9)),
        ("ledger", call.argument(12)),
        ("format", call.argument(13)),
    ])
}

fn seal(call: &Call<'_>, _: bool) -> CallResult {
    match call.stored()? {
        None => reply_with_state("GONE", &empty_state()),
        Some(_) => Ok((answer("OK", &[]), vec![call.set(&[("owner", call.argument(2))])])),
    }
}

fn resume(call: &Call<'_>, fenced: bool) -> CallResult {
    let state = match call.check_writer(fenced)? {
        Ok(state) => state,
        Err(rejection) => return Ok((rejection, Vec::new())),
    };
    let (value, _) = reply_with_state("OK", &state)?;
    Ok((value, vec![call.set(&[("owner", call.argument(2))])]))
}
