// TL.FLUSH: deletes every key of a namespace, for everybody. FLUSHALL speaks of this edge's copies; this asks the hub
// which keys there are and deletes them as any client would: a write-through key at the hub, many at one index (S4); a
// write-behind key by a record of its own, stamped behind all that was listed (G8), what waits here to be sent
// included; a key of this gateway here. So every deletion is sequenced, acknowledged, and shown to readers like any
// other.
//
// It is not one instant: keys are deleted a page at a time, and what is written meanwhile may stay. What other gateways
// hold back in their outboxes is not known to the hub, and so not deleted. Broken off, it has deleted some keys:
// repeated, it deletes the rest.

#include <algorithm>
#include <deque>
#include <set>
#include <utility>

#include "edge/commands.h"
#include "edge/tl_reply.h"

namespace tidelock {
namespace {
constexpr std::size_t kRowsAtOnce = 4096;    // of one RocksDB iterator
constexpr std::size_t kDeletedAtOnce = 256;  // keys of one turn, whose acknowledgements the next turn waits for
constexpr std::size_t kOwnKeysMax = 1'000'000;
}  // namespace

struct EdgeCommands::Flush {
  Asked asked;
  Namespace ns;
  std::deque<std::string> page;            // listed, and not deleted yet
  std::set<std::string, std::less<>> own;  // of a write-behind namespace: what was held here
  std::string last;                        // the hub's next page begins behind it
  bool too_many = false;                   // held here: not all of them were looked at
  bool listed_all = false;                 // there is none
  std::int64_t deleted = 0;
};

void EdgeCommands::tl_flush(const Asked& asked, std::string_view prefix) {
  const std::vector<Namespace>& namespaces = core_.core().namespaces();
  const auto ns =
      std::find_if(namespaces.begin(), namespaces.end(), [&](const Namespace& one) { return one.prefix == prefix; });
  if (ns == namespaces.end()) {
    return answer_error(asked, "ERR no namespace has the prefix '" + std::string(prefix.substr(0, 128)) +
                                   "'; TL.NAMESPACE lists them all");
  }
  if (ns->prefix.starts_with("model:")) {
    return answer_error(asked, error_reply(Code::kDenied, "model keys are written by `tidelock model`"));
  }
  auto flush = std::make_shared<Flush>();
  flush->asked = asked;
  flush->ns = *ns;
  flush->listed_all = ns->scope != Scope::kRegion;
  if (ns->write_mode == WriteMode::kThrough) return flush_some_of(flush);
  list_on_worker(asked, [this, flush, now = core_.clock().now(), all = namespaces]() -> std::function<void()> {
    std::string after;
    for (;;) {
      const auto last = l2_.scan(after, kRowsAtOnce, now, [&](const L2Store::Listed& entry) {
        if (namespace_of(all, entry.key).prefix == flush->ns.prefix) flush->page.emplace_back(entry.key);
        return flush->page.size() < kOwnKeysMax;
      });
      if (!last) return [this, flush, why = last.error()] { stop_flush(flush, why.code, why.message); };
      if (!*last || flush->page.size() >= kOwnKeysMax) break;
      after = **last;
    }
    return [this, flush] {
      flush->too_many = flush->page.size() >= kOwnKeysMax;
      if (!flush->listed_all) {  // the hub's first: their stamps bind those of all deletions (G8)
        flush->own.insert(flush->page.begin(), flush->page.end());
        flush->page.clear();
      }
      flush_some_of(flush);
    };
  });
}

void EdgeCommands::stop_flush(const std::shared_ptr<Flush>& flush, Code code, const std::string& why) {
  answer_error(flush->asked, error_reply(code, why + "; " + std::to_string(flush->deleted) +
                                                   " keys are deleted, repeat it for the rest"));
}

void EdgeCommands::flush_some_of(const std::shared_ptr<Flush>& flush) {
  if (flush->page.empty() && !flush->listed_all) {
    return core_.list_keys(flush->ns.prefix, flush->last, [this, flush](KeysListedOp listed) {
      if (listed.code != Code::kOk) return stop_flush(flush, listed.code, listed.message);
      for (std::string& key : listed.keys) {
        flush->own.erase(key);
        flush->page.push_back(std::move(key));
      }
      flush->listed_all = listed.last.empty();
      if (flush->listed_all) flush->page.insert(flush->page.end(), flush->own.begin(), flush->own.end());
      flush->last = std::move(listed.last);
      core_.loop().post([this, flush] { flush_some_of(flush); });
    });
  }
  if (flush->page.empty() && flush->too_many)
    return stop_flush(flush, Code::kBusy, "this edge holds more keys of it than one flush looks at");
  if (flush->page.empty()) return answer(flush->asked, [&](RespReply& reply) { reply.integer(flush->deleted); });

  std::vector<KeyWrite> gone;
  while (gone.size() < kDeletedAtOnce && !flush->page.empty()) {
    gone.emplace_back().key = std::move(flush->page.front());
    flush->page.pop_front();
  }
  const auto then = [this, flush](Code code, const std::string& why) {
    if (code != Code::kOk) return stop_flush(flush, code, why);
    core_.loop().post([this, flush] { flush_some_of(flush); });
  };
  const auto count = static_cast<std::int64_t>(gone.size());
  if (flush->ns.write_mode == WriteMode::kThrough) {
    core_.write_at_one_index(std::move(gone), [flush, then, count](const WriteDoneOp& done) {
      if (done.code == Code::kOk) flush->deleted += count;
      then(done.code, done.message);
    });
    return;
  }
  struct Turn {
    std::size_t left = 0;
    Code code = Code::kOk;
    std::string why = {};
  };
  auto turn = std::make_shared<Turn>(Turn{gone.size()});
  core_.run([this, flush, turn, then, gone = std::move(gone)] {
    for (const KeyWrite& write : gone) {
      core_.write(write, std::nullopt, [flush, turn, then](const WriteDoneOp& done) {
        flush->deleted += done.code == Code::kOk;
        if (done.code != Code::kOk && turn->code == Code::kOk) turn->code = done.code, turn->why = done.message;
        if (--turn->left == 0) then(turn->code, turn->why);
      });
    }
  });
}

}  // namespace tidelock
