// A page as a broken edge, or another program, left it, before the eyes of an app: each patch of the input lands
// somewhere in it, at times between two reads. The app refuses it, or reads on without a fault; a policy that it takes
// is one that a hub could have made, and it never waits.
#include <optional>

#include "fuzz/fuzz.h"
#include "fuzz/shared_file.h"
#include "memory/local_reader.h"
#include "memory/page_layout.h"

namespace tidelock::fuzz {
namespace {

struct World {
  Folder folder;
  std::string page_path = folder.path() + "/page";
  std::string arena_path = folder.path() + "/arena";
  std::optional<ArenaWriter> arena;
  std::optional<PageWriter> page;
  std::optional<SharedFile> file;

  World() {
    arena = *ArenaWriter::create({arena_path, Boot{7}, kArenaBytesMin});
    EntryMeta meta;
    meta.version = Index{5};
    meta.epoch = 1;
    arena->put("config:a", "value", meta);
    arena->put("model:a:current@default", "pointer", meta);
    PageOptions options;
    options.path = page_path;
    options.edge_boot = Boot{7};
    page = *PageWriter::create(options);
    const Nanos now = ElapsedClock().now();
    page->set_epochs(1, 1);
    page->publish_applied(Index{5});
    page->publish_writers(0);
    page->publish_fresh_at(now);
    page->publish_lease(now + 3'600 * kSecond);
    file.emplace(page_path);
  }
};

Bytes patch(std::size_t at, std::uint64_t word) { return number(at, 3) + number(word, 8); }

}  // namespace

std::vector<Seed> seeds() {
  const std::size_t fresh = offsetof(PageLayout, fresh_at), policies = offsetof(PageLayout, policies);
  return {{"sound", number(1, 1)},
          {"magic", number(1, 1) + patch(0, 1)},
          {"times", number(3, 1) + patch(fresh, 1ull << 63) + patch(fresh + 16, ~0ull >> 1) + patch(fresh + 48, ~0ull)},
          {"l1", number(11, 1) + patch(fresh, 1ull << 63)},
          {"counts", number(2, 1) + patch(offsetof(PageLayout, policy_count), 65)},
          {"policy", number(3, 1) + patch(policies + 48, ~0ull) + patch(policies + 8, 1ull << 63)},
          {"prefix", number(3, 1) + patch(policies + 60, 200)},
          {"shim", number(3, 1) + patch(offsetof(PageLayout, shim_rate_ppb), ~0ull >> 1) +
                       patch(offsetof(PageLayout, shim_origin_ns), 1ull << 63)},
          {"state", number(7, 1) + patch(fresh + 56, 0xFFFF'FFFF) + patch(offsetof(PageLayout, policy_version), 3)}};
}

void run(BytesView input) {
  static World world;
  Input in(input);
  const std::uint8_t how = in.byte();
  const auto apply = [&](int patches) {
    for (; patches > 0 && !in.empty(); --patches) {
      const auto at = static_cast<std::size_t>(in.number(3));
      world.file->put(at, in.take(8));
    }
  };
  apply(how & 1 ? 32 : 0);
  {
    if (const auto page = PageReader::open(world.page_path)) {
      const PageView view = page->view();
      if (const auto policies = view.policies()) {
        TIDELOCK_ASSERT(validate_namespaces(*policies));
        TIDELOCK_ASSERT(!policies->empty() && policies->size() <= kNamespacesMax);
      }
      (void)view.breaker(3);
      (void)page->replaced();
    }
    LocalReaderOptions options;
    options.page_path = world.page_path;
    if (how & 2) options.arena_path = world.arena_path;
    options.l1.capacity_bytes = how & 8 ? 64u << 10 : 0;  // seldom: it costs more to set up than all else
    LocalReader reader(options);
    apply(how & 4 ? 32 : 0);
    std::string value;
    for (const char* key : {"config:a", "model:a:current@default", "other"}) {
      for (const Contract& contract :
           {Contract{}, Contract{Consistency::kBounded, kSecond, {}, {}}, Contract{Consistency::kStrong, {}, {}, {}}}) {
        const ReadOutcome outcome = reader.read(key, contract, value);
        TIDELOCK_ASSERT(outcome.receipt.bound_ns >= 0);
        if (outcome.must_ask == MustAsk::kNo && contract.bound_ns)
          TIDELOCK_ASSERT(outcome.receipt.bound_ns <= kForever);
      }
    }
    std::vector<std::string> values;
    std::vector<ReadOutcome> outcomes;
    const std::string_view keys[] = {"model:a:current@default", "model:b"};
    (void)reader.snapshot(keys, values, outcomes);
    (void)reader.maintain();
  }
  world.file->restore();
}

}  // namespace tidelock::fuzz
