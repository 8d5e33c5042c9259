// Trust files from strangers (X2). What validates has one encoding; nothing that our keys did not sign is accepted, and
// a file with a touched byte is not; whatever is played in whatever order, no floor goes down, and what is kept can be
// read again.
#include "codec/trust_fixture.h"
#include "fuzz/fuzz.h"

namespace tidelock::fuzz {
namespace {

struct Ours {
  Publisher publisher;
  std::vector<Bytes> roots;
  std::vector<TrustSet> sets;

  Ours() {
    roots.push_back(publisher.signed_root());
    for (int step = 0; step < 4; ++step) {
      sets.push_back(publisher.set());
      publisher.advance();
      if (step != 1) continue;
      publisher.timestamp_key = Publisher::fresh_key();
      publisher.root.head.version = 2;
      publisher.root.timestamp = trust_keys({publisher.timestamp_key}, 1, 2);
      publisher.timestamp.since_root = 2;
      publisher.timestamp.head.version = 1;
      roots.push_back(publisher.signed_root());
    }
  }
};
const Ours& ours() {
  static const Ours made;
  return made;
}

template <class File>
void one_encoding(const SignedTrust& file, const Result<File>& read) {
  if (!read) return TIDELOCK_ASSERT(!read.error().message.empty());
  TIDELOCK_ASSERT(encode(*read) == file.body);
  if (const auto made = make_trust(*read)) TIDELOCK_ASSERT(made->body == file.body && made->role == file.role);
}

void look(const SignedTrust& file) {
  switch (file.role) {
    case TrustRole::kRoot: one_encoding(file, read_root(file)); break;
    case TrustRole::kTargets: one_encoding(file, read_targets(file)); break;
    case TrustRole::kSnapshot: one_encoding(file, read_snapshot(file)); break;
    case TrustRole::kTimestamp: one_encoding(file, read_timestamp(file)); break;
  }
}

Trust fresh(std::size_t sets) {
  Trust trust = *Trust::anchor(ours().roots[0]);
  for (std::size_t i = 0; i < sets; ++i) TIDELOCK_ASSERT(accept(trust, ours().sets[i]).has_value());
  return trust;
}

}  // namespace

std::vector<Seed> seeds() {
  const TrustSet& set = ours().sets[0];
  return {{"root", number(0, 1) + ours().roots[0]},
          {"targets", number(0, 1) + set.targets[0]},
          {"snapshot", number(0, 1) + set.snapshot},
          {"timestamp", number(0, 1) + set.timestamp},
          {"touched", number(1, 1) + number(2, 1) + number(40, 2) + number(8, 1)},
          {"hostile", number(2, 1) + piece(set.timestamp) + piece(set.snapshot) + piece(set.targets[0])},
          {"kept", number(3, 1) + fresh(1).save()},
          {"order", number(4, 1) + Bytes("\x01\x12\x23\x00\x34\x41\x50\x62", 8)}};
}

void run(BytesView input) {
  Input in(input);
  switch (in.byte() % 5) {
    case 0: {
      const BytesView bytes = in.rest();
      (void)decode_checked<SignedTrust>(bytes);
      const auto file = parse_trust(bytes);
      if (!file) return;
      look(*file);
      if (const auto anchored = Trust::anchor(bytes)) {  // somebody's own root, then
        TIDELOCK_ASSERT(anchored->root()->root.threshold <= file->signatures.size());
        TIDELOCK_ASSERT(Trust::load(anchored->save())->save() == anchored->save());
      }
      break;
    }
    case 1: {  // one byte changed anywhere
      Trust trust = fresh(1);
      TrustSet set = ours().sets[1];
      const std::uint8_t which = in.byte() % 4;
      Bytes& touched = which == 0 ? set.timestamp : which == 1 ? set.snapshot : set.targets[which - 2];
      const Bytes good = touched;
      const std::size_t at = static_cast<std::size_t>(in.number(2)) % touched.size();
      touched[at] = static_cast<char>(touched[at] ^ in.byte());
      const Bytes before = trust.save();
      const bool accepted = accept(trust, set).has_value();
      TIDELOCK_ASSERT(accepted == (touched == good));
      TIDELOCK_ASSERT(accepted || trust.save() == before);
      break;
    }
    case 2: {  // nobody else has the keys
      Trust trust = fresh(1);
      const Bytes before = trust.save();
      const BytesView timestamp = in.piece(), snapshot = in.piece();
      TIDELOCK_ASSERT(!trust.accept_catalogue(timestamp, snapshot, {Bytes(in.piece())}));
      TIDELOCK_ASSERT(!trust.accept_root(timestamp));
      const TrustSet& set = ours().sets[1];
      if (timestamp != set.snapshot) TIDELOCK_ASSERT(!trust.accept_catalogue(set.timestamp, timestamp, set.targets));
      TIDELOCK_ASSERT(trust.save() == before);
      break;
    }
    case 3: {
      const auto kept = Trust::load(in.rest());
      if (!kept) return;
      const auto again = Trust::load(kept->save());
      TIDELOCK_ASSERT(again && again->save() == kept->save() && again->floors() == kept->floors());
      break;
    }
    default: {  // what we signed ourselves, in any order and mixture
      Trust trust = fresh(0);
      for (int step = 0; step < 24 && !in.empty(); ++step) {
        const auto before = trust.floors();
        const std::uint8_t what = in.byte();
        const TrustSet &a = ours().sets[what % 4], &b = ours().sets[what / 4 % 4], &c = ours().sets[what / 16 % 4];
        if (what >= 224)
          trust.saw_time(kTrustNow + in.number(4));
        else if (what >= 192)
          (void)trust.accept_root(ours().roots[what % 2]);
        else if (what >= 64)
          (void)accept(trust, a);
        else
          (void)trust.accept_catalogue(a.timestamp, b.snapshot, c.targets);
        for (const auto& [role, floor] : before) TIDELOCK_ASSERT(trust.floors().at(role) >= floor);
      }
      TIDELOCK_ASSERT(Trust::load(trust.save())->save() == trust.save());
    }
  }
}

}  // namespace tidelock::fuzz
