// RENAME, RENAMENX, COPY.
//
// Keys of this gateway: one unit of the loop. Where a key is written through: the source is read, the destination
// written (NX and COPY without REPLACE: on condition that it is absent), and RENAME then deletes the source on
// condition that it is still what was copied. The destination always comes first, so whatever is killed or refused in
// between, the value is there under at least one of the names.

#include <utility>

#include "edge/commands.h"
#include "edge/tl_reply.h"

namespace tidelock {

struct EdgeCommands::Move {
  std::string from, to;
  bool replace = false;    // what the destination holds
  bool remove = false;     // the source
  bool as_number = false;  // answers 1 and 0; else OK

  // What must be looked at: a destination that is replaced whatever it holds is not waited for.
  std::vector<std::string> needed_here() const {
    if (replace) return {from};
    return {from, to};
  }

  void write_done(RespReply& reply) const {
    if (as_number)
      reply.integer(1);
    else
      reply.ok();
  }
  void write_absent(RespReply& reply) const {
    if (remove)
      reply.error("ERR no such key");
    else
      reply.integer(0);
  }
  void write_same(RespReply& reply) const {  // RENAME k k changes nothing
    if (as_number)
      reply.integer(0);
    else
      reply.ok();
  }
};

namespace {

KeyWrite deletion(const std::string& key) {
  KeyWrite gone;
  gone.key = key;
  return gone;
}

}  // namespace

void EdgeCommands::copy(const Asked& asked, const Arguments& args) {
  const auto parsed = parse_copy(args);
  if (!parsed) return answer_error(asked, parsed.error().message);
  move(asked, {std::string(parsed->from), std::string(parsed->to), parsed->replace, false, true});
}

void EdgeCommands::rename(const Asked& asked, const Arguments& args, bool only_if_absent) {
  move(asked, {std::string(args[1]), std::string(args[2]), !only_if_absent, true, only_if_absent});
}

void EdgeCommands::move(const Asked& asked, Move move) {
  for (const std::string& key : {move.to, move.remove ? move.from : move.to}) {
    if (const std::string why = why_not_written(deletion(key)); !why.empty()) return answer_error(asked, why);
  }
  if (through(move.from) || through(move.to)) return move_through(asked, move);
  with_local_copies(move.needed_here(), [this, asked, move] {
    const Current source = held(move.from);
    if (!source.present) return answer(asked, [&](RespReply& reply) { move.write_absent(reply); });
    if (move.from == move.to) return answer(asked, [&](RespReply& reply) { move.write_same(reply); });
    if (!move.replace && held(move.to).present) return answer(asked, [](RespReply& reply) { reply.integer(0); });
    KeyWrite placed = deletion(move.to);
    placed.value = source.value;
    if (source.ttl_left_ns != kForever) placed.ttl_ns = source.ttl_left_ns;
    std::vector<KeyWrite> writes = {std::move(placed)};
    if (move.remove) writes.push_back(deletion(move.from));
    write_all(asked, writes, [move](RespReply& reply) { move.write_done(reply); });
  });
}

void EdgeCommands::move_through(const Asked& asked, const Move& move) {
  const auto place = [this, asked, move](const Current& source) {
    if (!source.present) return answer(asked, [&](RespReply& reply) { move.write_absent(reply); });
    if (move.from == move.to) return answer(asked, [&](RespReply& reply) { move.write_same(reply); });
    KeyWrite placed = deletion(move.to);
    placed.value = source.value;
    if (source.ttl_left_ns != kForever) placed.ttl_ns = source.ttl_left_ns;
    if (!move.replace) placed.condition = Condition::kAbsent;
    std::vector<std::string> looked_at;
    if (!move.replace) looked_at.push_back(move.to);
    with_local_copies(looked_at, [this, asked, move, source, placed] {
      core_.write(placed, std::nullopt, [this, asked, move, source](const WriteDoneOp& done) {
        if (!move.replace && done.code == Code::kConflict)
          return answer(asked, [](RespReply& reply) { reply.integer(0); });
        if (done.code != Code::kOk) return answer_error(asked, error_reply(done.code, done.message));
        if (move.remove) return remove_moved(asked, move, source);
        answer(asked, [&](RespReply& reply) { move.write_done(reply); });
      });
    });
  };
  if (through(move.from)) return read_at_hub(asked, move.from, place);
  with_local_copies({move.from}, [this, move, place] { place(held(move.from)); });
}

// The destination is written; now the source goes, unless it is something else by now.
void EdgeCommands::remove_moved(const Asked& asked, const Move& move, const Current& source) {
  const auto stays = [move](const std::string& why) {
    return "'" + move.to + "' is written, but '" + move.from + "' stays: " + why;
  };
  const auto finish = [this, asked, move, stays](const WriteDoneOp& done) {
    if (done.code != Code::kOk) return answer_error(asked, error_reply(done.code, stays(done.message)));
    answer(asked, [&](RespReply& reply) { move.write_done(reply); });
  };
  KeyWrite gone = deletion(move.from);
  if (through(move.from)) {
    gone.condition = Condition::kVersionIs;
    gone.expected = source.version;
    return core_.write(std::move(gone), std::nullopt, finish);
  }
  core_.run([this, asked, move, source, gone, finish, stays] {
    const Current now = held(move.from);
    // The version of a write-behind value changes when the hub has it: there the bytes must do.
    const bool changed = behind(move.from) ? now.value != source.value : now.version != source.version;
    if (now.present && changed) {
      return answer_error(asked, error_reply(Code::kConflict, stays("it was written meanwhile")));
    }
    core_.write(gone, std::nullopt, finish);
  });
}

}  // namespace tidelock
