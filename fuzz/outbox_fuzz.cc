// The outbox's rows after a disk, or a build of another version, had its way with them. It refuses them, or it works on
// with them: what it then writes restores to the same outbox, and records leave exactly once.
#include <map>

#include "codec/compress.h"
#include "fuzz/fuzz.h"
#include "protocol/outbox.h"

namespace tidelock::fuzz {
namespace {

constexpr Nanos kNow = 1'000 * kSecond;
constexpr std::uint64_t kWall = 1'700'000'000'000;
using Rows = std::map<Bytes, Bytes>;

OutboxOptions options() {
  OutboxOptions out;
  out.clock_run = 4;
  out.batch_records_max = 2;
  return out;
}
Result<Outbox> restore(const Rows& rows) {
  return Outbox::restore(options(), {rows.begin(), rows.end()}, kNow, kWall, Rng(7));
}
void carry_out(Rows& rows, const OutboxActions& actions) {
  for (const auto& [key, value] : actions.persist) {
    if (value)
      rows[key] = *value;
    else
      rows.erase(key);
  }
}
bool same(const OutboxCounters& a, const OutboxCounters& b) {
  return a.written == b.written && a.flushed == b.flushed && a.superseded == b.superseded && a.expired == b.expired &&
         a.pending == b.pending && a.lost == b.lost;
}

Bytes text_of(const Rows& rows) {
  Bytes out;
  for (const auto& [key, value] : rows) out += piece(key) + piece(value);
  return out;
}

}  // namespace

std::vector<Seed> seeds() {
  std::vector<Seed> out;
  Rows rows;
  Outbox outbox = *restore({});
  const auto done = [&](OutboxActions actions) { carry_out(rows, actions); };
  const auto write = [&](const char* key, std::optional<Bytes> value, std::uint32_t counter, Nanos ttl) {
    OutboxActions actions;
    outbox.accept(kNow, kWall, {key, std::move(value), ttl, {kWall, counter, 5}, AckLevel::kDisk, counter}, actions);
    done(std::move(actions));
  };
  write("feature:a", "1", 1, 0);
  out.push_back({"one", text_of(rows)});
  write("feature:b", "2", 2, kSecond);
  write("feature:c", std::nullopt, 3, 0);
  write("feature:a", "3", 4, 0);
  out.push_back({"some", text_of(rows)});
  OutboxActions actions;
  outbox.persisted(kNow, 100, AckLevel::kDisk, actions);
  outbox.session_open(kNow, actions);
  outbox.tick(kNow + 600 * kMillisecond, actions);
  carry_out(rows, actions);
  out.push_back({"in_flight", text_of(rows)});
  write("feature:b", "4", 5, 0);
  out.push_back({"beside", text_of(rows)});
  return out;
}

void run(BytesView input) {
  Rows rows;
  for (Input in(input); !in.empty();) {
    const Bytes key(in.piece());
    rows[key] = Bytes(in.piece());
  }
  auto outbox = restore(rows);
  if (!outbox) return;
  TIDELOCK_ASSERT(outbox->counters().adds_up());
  for (const std::string& key : outbox->pending_keys()) TIDELOCK_ASSERT(outbox->pending(key).has_value());

  Nanos now = kNow;
  std::uint64_t persisted = 0, last_sent = 0;
  const auto settle = [&](OutboxActions actions) {
    for (int rounds = 0; rounds < 64; ++rounds) {
      carry_out(rows, actions);
      if (actions.persist_number != 0) persisted = actions.persist_number;
      TIDELOCK_ASSERT(outbox->counters().adds_up());
      OutboxActions next;
      if (actions.send) {
        TIDELOCK_ASSERT(actions.send->number >= last_sent);  // D5
        last_sent = actions.send->number;
        const auto bytes = decompress(actions.send->records, 4u << 20, "batch");
        TIDELOCK_ASSERT(bytes && decode_checked<std::vector<BatchRecord>>(*bytes));
        outbox->batch_done(now, {actions.send->incarnation, actions.send->number, Index{5}, 0, Code::kOk, {}}, next);
      } else if (actions.persist_number != 0) {
        outbox->persisted(now, persisted, AckLevel::kDisk, next);
      } else {
        return;
      }
      actions = std::move(next);
    }
  };
  OutboxActions opened;
  outbox->session_open(now, opened);
  settle(std::move(opened));
  OutboxActions accepted;
  const Stamp newest = outbox->newest_stamp();
  if (newest.wall_ms < ~0ull) {
    outbox->accept(now, kWall, {"feature:z", "new", 0, {newest.wall_ms + 1, 0, 5}, AckLevel::kDisk, 1}, accepted);
    settle(std::move(accepted));
  }
  for (int ticks = 0; ticks < 3; ++ticks) {
    now += 700 * kMillisecond;
    OutboxActions ticked;
    outbox->tick(now, ticked);
    settle(std::move(ticked));
  }
  const auto again = restore(rows);
  TIDELOCK_ASSERT(again.has_value());  // what it wrote, it can read
  TIDELOCK_ASSERT(again->incarnation() == outbox->incarnation() && again->newest_stamp() == outbox->newest_stamp());
  TIDELOCK_ASSERT(same(again->counters(), outbox->counters()));
}

}  // namespace tidelock::fuzz
