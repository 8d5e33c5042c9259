// What GET, SET and MGET of keys that are here take from the heap of a real edge, port to journal: nothing, once
// buffers have found their size. Beside the hot path an edge does allocate: rows on their way to RocksDB (a batch for
// kL2JournalSlice of them), a key that is new to the journal's or the memory tier's table when that grows, a value
// above 8 KiB, and whatever takes a step of its own (DEL, INCR, a key of a region). So a round is repeated until one
// met nothing of that.
#include <atomic>
#include <cstdlib>
#include <new>

#include "edge/edge_fixture.h"

namespace {
std::atomic<std::uint64_t> allocations{0};
thread_local bool asks = false;  // the thread of the client is not counted
}  // namespace

// The thread sanitizer has operators of its own: then nothing is counted.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TIDELOCK_HEAP_NOT_COUNTED
#endif
#endif
#ifndef TIDELOCK_HEAP_NOT_COUNTED
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (!asks) allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](std::size_t size) { return operator new(size); }
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace tidelock {
namespace {

using Commands = std::vector<std::vector<std::string>>;

class EdgeHotPath : public EdgeFixture {};

Commands of_keys(const char* name, std::size_t keys, const std::string& value) {
  Commands commands;
  for (std::size_t i = 0; i < keys; ++i) {
    commands.push_back({name, "a:key:longer:than:a:small:string:" + std::to_string(100 + i)});
    if (!value.empty()) commands.back().push_back(value);
  }
  return commands;
}

TEST_F(EdgeHotPath, TakesNothingFromTheHeap) {
  config_.hubs.clear();  // nobody tries to reach one meanwhile
  config_.http_address.clear();
  start();
  asks = true;
  constexpr std::size_t kKeys = 16;
  constexpr int kRoundsMax = 2'000;
  Commands mget{{"MGET"}};
  for (const auto& get : of_keys("GET", kKeys, {})) mget[0].push_back(get[1]);
  const struct Row {
    const char* what;
    Commands commands;
    std::string last;
  } rows[] = {
      {"SET of 64 bytes", of_keys("SET", kKeys, std::string(64, 'v')), "OK"},
      {"one SET", of_keys("SET", 1, std::string(64, 'v')), "OK"},
      {"GET of 64 bytes", of_keys("GET", kKeys, {}), "\"" + std::string(64, 'v') + "\""},
      {"SET of 2 KiB", of_keys("SET", kKeys, std::string(2048, 'w')), "OK"},
      {"GET of 2 KiB", of_keys("GET", kKeys, {}), "\"" + std::string(2048, 'w') + "\""},
      {"MGET of 16", mget, {}},
  };
  for (const Row& row : rows) {
    std::uint64_t least = ~std::uint64_t{0};
    for (int round = 0; round < kRoundsMax && least > 0; ++round) {
      const std::uint64_t before = allocations.load();
      const auto replies = client_->pipeline(row.commands, kPatience);
      ASSERT_TRUE(replies) << row.what << ": " << replies.error().message;
      least = std::min(least, allocations.load() - before);
      if (!row.last.empty()) {
        ASSERT_EQ(to_text(replies->back()), row.last) << row.what;
      }
    }
    EXPECT_EQ(least, 0u) << row.what;
  }
  asks = false;
}

}  // namespace
}  // namespace tidelock
