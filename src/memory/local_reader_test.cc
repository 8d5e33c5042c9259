#include "memory/local_reader.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "memory/local_reader_fixture.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define TIDELOCK_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define TIDELOCK_TEST_SANITIZED 1
#endif
#endif

// ------------------------------------------------------------------------------- an allocator that counts, per thread
namespace {
thread_local std::uint64_t allocations = 0;
}
#ifndef TIDELOCK_TEST_SANITIZED
// Not inlined: the compiler would see malloc behind one half of a pair and complain about the other.
#define TIDELOCK_TEST_REPLACED __attribute__((noinline))
TIDELOCK_TEST_REPLACED void* operator new(std::size_t size) {
  ++allocations;
  void* p = std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
TIDELOCK_TEST_REPLACED void* operator new[](std::size_t size) { return operator new(size); }
TIDELOCK_TEST_REPLACED void operator delete(void* p) noexcept { std::free(p); }
TIDELOCK_TEST_REPLACED void operator delete[](void* p) noexcept { std::free(p); }
TIDELOCK_TEST_REPLACED void operator delete(void* p, std::size_t) noexcept { std::free(p); }
TIDELOCK_TEST_REPLACED void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
#endif

namespace tidelock {
namespace {

TEST_F(LocalReaderTest, ReadsFromTheArenaThenFromL1) {
  Edge edge(base, 1);
  edge.prove();
  edge.write("model:yolo:current", "v1", 10);
  LocalReader reader(options);
  ASSERT_TRUE(reader.attached());
  ReadOutcome outcome = reader.read("model:yolo:current", {}, value);
  EXPECT_EQ(outcome.must_ask, MustAsk::kNo) << must_ask_name(outcome.must_ask);
  EXPECT_EQ(outcome.receipt.source, Source::kArena);
  EXPECT_EQ(outcome.receipt.basis, Basis::kLease);
  EXPECT_EQ(outcome.receipt.version, Index{10});
  EXPECT_EQ(value, "v1");
  outcome = reader.read("model:yolo:current", {}, value);
  EXPECT_EQ(outcome.receipt.source, Source::kL1);
  EXPECT_EQ(value, "v1");

  edge.write("model:yolo:current", "v2", 11);  // one store invalidates every L1 of the gateway
  outcome = reader.read("model:yolo:current", {}, value);
  EXPECT_EQ(outcome.receipt.source, Source::kArena);
  EXPECT_EQ(value, "v2");
  EXPECT_EQ(reader.counters().hits_l1, 1u);
  EXPECT_EQ(reader.counters().hits_arena, 2u);
  EXPECT_EQ(reader.counters().reads, 3u);
}

TEST_F(LocalReaderTest, APageThatSaysNothingOfOtherKeysIsRefused) {
  PageOptions page;
  page.path = base + ".page";
  page.edge_boot = Boot{1};
  page.namespaces = {namespaces()[0]};  // model: and no empty prefix
  const auto writer = PageWriter::create(page);
  ASSERT_TRUE(writer) << writer.error().message;
  LocalReader reader(options);
  EXPECT_FALSE(reader.attached());
  const auto refused = reader.attach();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
  EXPECT_EQ(refused.error().message,
            "page: no namespace has the empty prefix; one must, for every key that matches no other");
  EXPECT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kDetached) << "the edge is asked";
}

TEST_F(LocalReaderTest, ProofsLapseByTimeWhenTheEdgeDies) {
  struct Case {
    const char* why;
    Nanos age, lease;
    const char* key;
    std::optional<Nanos> bound;
    MustAsk expected;
  };
  const Case cases[] = {
      {"within the lease", 0, 1000 * kSecond, "model:a", std::nullopt, MustAsk::kNo},
      {"the lease has lapsed", 0, 0, "model:a", std::nullopt, MustAsk::kNoLease},
      {"3 s old, 5 s allowed", 3 * kSecond, 0, "feature:a", std::nullopt, MustAsk::kNo},
      {"3 s old, 2 s allowed", 3 * kSecond, 0, "feature:a", 2 * kSecond, MustAsk::kTooOld},
      {"6 s old, 5 s allowed", 6 * kSecond, 0, "feature:a", std::nullopt, MustAsk::kTooOld},
  };
  for (const Case& c : cases) {
    {
      Edge edge(base, 1);
      edge.write("model:a", "m", 1);
      edge.write("feature:a", "f", 2);
      edge.prove(c.age, c.lease);
    }  // the edge is dead; its page and arena stay
    LocalReader reader(options);
    Contract contract;
    contract.bound_ns = c.bound;
    const ReadOutcome outcome = reader.read(c.key, contract, value);
    EXPECT_EQ(must_ask_name(outcome.must_ask), must_ask_name(c.expected)) << c.why;
    EXPECT_TRUE(outcome.found) << "there is something to fall back on, with its true bound";
    EXPECT_GE(outcome.receipt.bound_ns, c.age) << c.why;
    if (c.key == std::string("feature:a")) {
      EXPECT_EQ(outcome.receipt.writers_ns, kSecond) << c.why;
    }
  }
}

TEST_F(LocalReaderTest, ARestartedEdgeIsFoundAgain) {  // F11
  auto former = std::make_unique<Edge>(base, 1);
  former->prove();
  former->write("model:a", "old", 1);
  LocalReader reader(options);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kNo);  // now in L1 too
  EXPECT_FALSE(reader.maintain()) << "nothing to do";

  Edge next(base, 2);  // revokes the former page
  EXPECT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kDetached);
  EXPECT_TRUE(reader.maintain());
  EXPECT_EQ(reader.edge_boot(), Boot{2});
  EXPECT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kMiss) << "L1's copy belongs to the former page";
  next.prove();
  next.write("model:a", "new", 2);
  EXPECT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kNo);
  EXPECT_EQ(value, "new");
}

TEST_F(LocalReaderTest, WorksWithoutAnEdgeAndFindsItLater) {
  LocalReader reader(options);
  EXPECT_FALSE(reader.attached());
  EXPECT_EQ(reader.read("a", {}, value).must_ask, MustAsk::kDetached);
  EXPECT_EQ(reader.attach().error().code, Code::kUnavailable);
  Edge edge(base, 1);
  EXPECT_TRUE(reader.maintain());
  edge.write("anything", "x", 1);
  const ReadOutcome outcome = reader.read("anything", {}, value);
  EXPECT_EQ(outcome.must_ask, MustAsk::kNo) << "gateway scope needs no proof";
  EXPECT_EQ(outcome.receipt.basis, Basis::kLocal);
  EXPECT_EQ(reader.read("", {}, value).must_ask, MustAsk::kInvalidKey);
  EXPECT_EQ(reader.read(std::string(kKeyBytesMax + 1, 'k'), {}, value).must_ask, MustAsk::kInvalidKey);
}

TEST_F(LocalReaderTest, AnArenaOfAnotherBootIsNotTrusted) {
  Edge edge(base, 1);
  edge.prove();
  edge.write("model:a", "x", 1);
  auto foreign = ArenaWriter::create({base + ".arena", Boot{2}, kArenaBytesMin});
  ASSERT_TRUE(foreign);
  EntryMeta meta;
  meta.epoch = 9;
  ASSERT_TRUE(foreign->put("model:a", "lie", meta));
  LocalReader reader(options);
  EXPECT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kMiss);
}

TEST_F(LocalReaderTest, NewPoliciesAreFollowed) {
  Edge edge(base, 1);
  edge.prove(3 * kSecond);
  edge.write("feature:a", "x", 1);
  LocalReader reader(options);
  ASSERT_EQ(reader.read("feature:a", {}, value).must_ask, MustAsk::kNo);
  std::vector<Namespace> tighter = namespaces();
  tighter[1].bound_ns = kSecond;
  ASSERT_TRUE(edge.page->set_policies(tighter, {}));
  EXPECT_EQ(reader.read("feature:a", {}, value).must_ask, MustAsk::kDetached) << "not under the former policy";
  EXPECT_TRUE(reader.maintain());
  EXPECT_EQ(reader.read("feature:a", {}, value).must_ask, MustAsk::kTooOld);
}

TEST_F(LocalReaderTest, RevalidationMakesAnL1CopyUsableAgain) {  // F8
  Edge edge(base, 1);
  edge.prove();
  edge.write("model:a", "x", 1);
  LocalReader reader(options);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kNo);
  edge.page->set_epochs(2, 2);  // a new session that asked for a reset
  EXPECT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kUnverified);
  EntryMeta again;
  again.version = Index{1};
  again.epoch = 2;
  ASSERT_TRUE(edge.arena->put("model:a", "x", again));
  EXPECT_EQ(reader.read("model:a", {}, value).receipt.source, Source::kArena);
  EXPECT_EQ(reader.read("model:a", {}, value).receipt.source, Source::kL1);
}

TEST_F(LocalReaderTest, SnapshotsAreOfOneIndex) {  // S4
  Edge edge(base, 1);
  edge.prove();
  edge.write("model:a", "a1", 5);
  edge.write("model:b", "b1", 6);
  LocalReader reader(options);
  const std::string_view keys[] = {"model:a", "model:b"};
  std::vector<std::string> values;
  std::vector<ReadOutcome> outcomes;
  ReadOutcome group = reader.snapshot(keys, values, outcomes);
  EXPECT_EQ(group.must_ask, MustAsk::kNo) << must_ask_name(group.must_ask);
  EXPECT_EQ(values, (std::vector<std::string>{"a1", "b1"}));
  EXPECT_EQ(group.receipt.version, Index{6});
  edge.write("model:b", "b2", 101);  // ahead of `applied`, as an answer to a fetch may be
  group = reader.snapshot(keys, values, outcomes);
  EXPECT_EQ(group.must_ask, MustAsk::kToken);
  edge.page->publish_applied(Index{101});
  EXPECT_EQ(reader.snapshot(keys, values, outcomes).must_ask, MustAsk::kNo);
  edge.page->begin_write(0);
  EXPECT_EQ(reader.snapshot(keys, values, outcomes).must_ask, MustAsk::kBusy);
  edge.page->end_write(0);
  const std::uint16_t slots[] = {slot_of("model:b")};
  edge.page->open_block(slots);
  EXPECT_EQ(reader.snapshot(keys, values, outcomes).must_ask, MustAsk::kBlocked);
  const std::string_view mixed[] = {"model:a", "feature:a"};
  EXPECT_EQ(reader.snapshot(mixed, values, outcomes).must_ask, MustAsk::kNotStrong);
}

// A long value that L1 holds is read where it lies; it stays what it was when it is replaced, evicted, or its edge
// goes.
TEST_F(LocalReaderTest, AReferenceOutlivesWhatItWasReadFrom) {
  Edge edge(base, 1);
  edge.prove();
  edge.write("model:a", std::string(2'048, 'x'), 1);
  edge.write("model:b", std::string(64, 'y'), 2);
  LocalReader reader(options);
  ValueRef first, held, small;
  EXPECT_EQ(reader.read("model:a", {}, first).receipt.source, Source::kArena);
  EXPECT_TRUE(first.copied());
  EXPECT_EQ(reader.read("model:a", {}, held).receipt.source, Source::kL1);
  EXPECT_FALSE(held.copied());
  for (int i = 0; i < 2; ++i) EXPECT_EQ(reader.read("model:b", {}, small).must_ask, MustAsk::kNo);
  EXPECT_TRUE(small.copied()) << "short values are copied";
  EXPECT_EQ(small.bytes(), std::string(64, 'y'));
  const ValueRef moved = std::move(held);
  for (std::uint64_t i = 0; i < 3'000; ++i) {
    edge.write("model:a", std::string(2'048, static_cast<char>('a' + i % 20)), 10 + i);
    ASSERT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kNo);
  }
  EXPECT_EQ(moved.bytes(), std::string(2'048, 'x'));
  EXPECT_EQ(first.bytes(), moved.bytes());
  std::vector<ValueRef> many(12);  // more than a thread can hold: the rest is copied
  std::size_t copies = 0;
  for (ValueRef& one : many) {
    ASSERT_EQ(reader.read("model:a", {}, one).must_ask, MustAsk::kNo);
    copies += one.copied();
  }
  EXPECT_EQ(copies, 12 - (ReaderLanes::kHolds - 1)) << "`moved` has one of the eight";
  many.clear();
  EXPECT_EQ(reader.read("model:a", {}, first).must_ask, MustAsk::kNo);
  EXPECT_FALSE(first.copied()) << "the holds are free again";
}

TEST_F(LocalReaderTest, ManyAreReadUnderOneProof) {
  Edge edge(base, 1);
  edge.prove(kSecond);
  std::vector<std::string> names;
  for (int i = 0; i < 250; ++i) {
    names.push_back("feature:" + std::to_string(i));
    edge.write(names.back(), "value " + std::to_string(i), static_cast<std::uint64_t>(i) + 1);
  }
  LocalReader reader(options);
  const std::vector<std::string_view> keys(names.begin(), names.end());
  std::vector<std::string> values;
  std::vector<ReadOutcome> outcomes;
  Contract contract;
  contract.bound_ns = 4 * kSecond;
  for (const Source source : {Source::kArena, Source::kL1}) {
    const ReadOutcome all = reader.read_many(keys, contract, values, outcomes);
    ASSERT_EQ(all.must_ask, MustAsk::kNo) << must_ask_name(all.must_ask);
    EXPECT_EQ(all.receipt.source, source);
    EXPECT_EQ(all.receipt.basis, Basis::kProof);
    EXPECT_EQ(all.receipt.version, Index{250});
    EXPECT_GE(all.receipt.bound_ns, kSecond);
    for (int i = 0; i < 250; ++i) {
      const auto at = static_cast<std::size_t>(i);
      ASSERT_EQ(values[at], "value " + std::to_string(i));
      ASSERT_EQ(outcomes[at].receipt.bound_ns, all.receipt.bound_ns) << "one proof, one bound";
    }
  }
  EXPECT_EQ(reader.counters().reads, 500u);
  EXPECT_EQ(reader.counters().hits_l1, 250u);
  EXPECT_EQ(reader.counters().hits_arena, 250u);
  edge.write(names[7], "newer", 300);
  const std::string_view mixed[] = {names[7], "feature:nowhere", "", names[8]};
  ReadOutcome all = reader.read_many(mixed, contract, values, outcomes);
  EXPECT_EQ(all.must_ask, MustAsk::kMiss) << "of the first that says one";
  EXPECT_EQ(values[0], "newer");
  EXPECT_EQ(outcomes[2].must_ask, MustAsk::kInvalidKey);
  EXPECT_EQ(values[3], "value 8");
  contract.bound_ns = kSecond / 2;
  all = reader.read_many(keys, contract, values, outcomes);
  EXPECT_EQ(all.must_ask, MustAsk::kTooOld);
  EXPECT_TRUE(outcomes[0].found) << "to fall back on";
}

TEST_F(LocalReaderTest, ABudgetKeepsItsNamespaceInL1) {
  Edge edge(base, 1);
  edge.prove();
  options.l1_budgets = {{"model:", 64 << 10}};
  LocalReader reader(options);
  for (int i = 0; i < 100; ++i) edge.write("model:" + std::to_string(i), "m", 1);
  for (int i = 0; i < 100; ++i) (void)reader.read("model:" + std::to_string(i), {}, value);
  for (int i = 0; i < 5'000; ++i) {
    const std::string key = "other:" + std::to_string(i);
    edge.write(key, std::string(100, 'o'), 1);
    (void)reader.read(key, {}, value);
  }
  for (int i = 0; i < 100; ++i) {
    const ReadOutcome outcome = reader.read("model:" + std::to_string(i), {}, value);
    // Another write may have moved the slot that two keys share; then it is read from the arena.
    if (outcome.receipt.source == Source::kL1) continue;
    EXPECT_EQ(outcome.receipt.source, Source::kArena);
    EXPECT_EQ(reader.read("model:" + std::to_string(i), {}, value).receipt.source, Source::kL1);
  }
  EXPECT_GT(reader.counters().hits_l1, 80u);
  EXPECT_GT(reader.counters().l1.evictions, 0u) << "of the others";
}

TEST_F(LocalReaderTest, AHitAllocatesNothing) {
#ifdef TIDELOCK_TEST_SANITIZED
  GTEST_SKIP() << "a sanitizer brings its own allocator";
#endif
  Edge edge(base, 1);
  edge.prove();
  edge.write("model:a", std::string(64, 'x'), 1);
  edge.write("feature:a", std::string(2'048, 'y'), 2);
  options.l1_value_bytes_max = 1'000;  // so that the feature comes from the arena each time
  LocalReader reader(options);
  value.reserve(4'096);
  ASSERT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kNo);
  const std::uint64_t before = allocations;
  std::uint64_t l1 = 0, arena = 0;
  for (int i = 0; i < 10'000; ++i) {
    l1 += reader.read("model:a", {}, value).receipt.source == Source::kL1;
    arena += reader.read("feature:a", {}, value).receipt.source == Source::kArena;
    (void)reader.read("model:not here", {}, value);
  }
  EXPECT_EQ(allocations - before, 0u);
  EXPECT_EQ(l1, 10'000u);
  EXPECT_EQ(arena, 10'000u);
}

// Runs `work` in a child process in which any system call but exit_group kills it. The exit status of the child; -1:
// killed.
int run_without_system_calls(const std::function<bool()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) ::_exit(77);
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) ::_exit(77);
    ::_exit(work() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(LocalReaderTest, AHitMakesNoSystemCall) {
#ifdef TIDELOCK_TEST_SANITIZED
  GTEST_SKIP() << "a sanitizer makes system calls of its own";
#endif
  const int clock_only = run_without_system_calls([] {
    timespec t{};
    return ::clock_gettime(CLOCK_BOOTTIME, &t) == 0 && ::clock_gettime(CLOCK_MONOTONIC_RAW, &t) == 0;
  });
  if (clock_only == 77) GTEST_SKIP() << "this kernel has no seccomp filters";
  if (clock_only != 0) GTEST_SKIP() << "this machine's clock needs a system call; the read adds none to it";
  EXPECT_EQ(run_without_system_calls([] { return ::getppid() > 0; }), -1) << "the filter kills";

  Edge edge(base, 1);
  edge.prove();
  edge.write("model:a", std::string(64, 'x'), 1);
  edge.write("feature:a", std::string(2'048, 'y'), 2);
  LocalReader reader(options);
  value.reserve(1 << 16);
  const int reads = run_without_system_calls([&] {
    std::uint64_t l1 = 0;
    for (int i = 0; i < 100'000; ++i) {
      const ReadOutcome strong = reader.read("model:a", {}, value);
      const ReadOutcome bounded = reader.read("feature:a", {}, value);
      if (strong.must_ask != MustAsk::kNo || bounded.must_ask != MustAsk::kNo) return false;
      if (reader.read("model:missing", {}, value).must_ask != MustAsk::kMiss) return false;
      l1 += strong.receipt.source == Source::kL1;
    }
    return l1 == 99'999;  // the first one came from the arena and filled L1, without a system call either
  });
  EXPECT_EQ(reads, 0);
}

// A stopped reader holds nothing: it is killed between any two loads of a read and the edge works on (DESIGN 6).
TEST_F(LocalReaderTest, AKilledReaderHoldsNothing) {
  Edge edge(base, 1);
  edge.prove();
  for (int round = 0; round < 20; ++round) {
    edge.write("model:a", std::string(100, 'x'), static_cast<std::uint64_t>(round) + 1);
    const pid_t child = ::fork();
    if (child == 0) {
      LocalReader reader(options);
      std::string mine;
      for (;;) (void)reader.read("model:a", {}, mine);
    }
    for (std::uint64_t i = 0; i < 2'000; ++i) edge.write("model:" + std::to_string(i), std::string(500, 'y'), i);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
  }
  edge.write("model:a", "after", 1'000);
  LocalReader reader(options);
  ASSERT_EQ(reader.read("model:a", {}, value).must_ask, MustAsk::kNo);
  EXPECT_EQ(value, "after");
}

// Threads read while the edge writes, restarts and changes policies. Versions of a strong key never go back while it is
// proven, and every value is whole.
TEST_F(LocalReaderTest, ThreadsReadBesideAWritingAndRestartingEdge) {
  auto edge = std::make_unique<Edge>(base, 1);
  edge->prove();
  LocalReader reader(options);
  constexpr int kProvenReads = 10'000;  // per thread; a read that finds the key blocked or the edge gone is tried again
  std::atomic<int> reading{3};
  std::atomic<std::uint64_t> proven{0}, back{0}, torn{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      std::string mine;
      std::uint64_t newest = 0;
      for (int mine_proven = 0; mine_proven < kProvenReads;) {
        const ReadOutcome outcome = reader.read("model:a", {}, mine);
        if (outcome.must_ask == MustAsk::kDetached) reader.maintain();
        if (outcome.must_ask != MustAsk::kNo) {
          std::this_thread::yield();
          continue;
        }
        ++mine_proven;
        proven.fetch_add(1, std::memory_order_relaxed);
        const std::uint64_t version = outcome.receipt.version.value;
        if (version < newest) back.fetch_add(1, std::memory_order_relaxed);
        newest = version;
        const std::string expected(mine.size(), static_cast<char>('a' + version % 26));
        if (mine.size() != 10 + version % 500 || mine != expected) torn.fetch_add(1, std::memory_order_relaxed);
      }
      reading.fetch_sub(1);
    });
  }
  const std::uint16_t slots[] = {slot_of("model:a")};
  for (std::uint64_t version = 1; reading.load() > 0; ++version) {
    edge->page->open_block(slots);
    edge->write("model:a", std::string(10 + version % 500, static_cast<char>('a' + version % 26)), version);
    edge->page->close_block(slots);
    if (version % 16 == 0) std::this_thread::yield();  // not inside a block
    if (version % 1'000 == 0) {
      ASSERT_TRUE(edge->page->set_policies(namespaces(), {}));
    }
    if (version % 5'000 == 0) {
      edge.reset();
      edge = std::make_unique<Edge>(base, version);
      edge->prove();
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(back.load(), 0u);
  EXPECT_EQ(torn.load(), 0u);
  EXPECT_EQ(proven.load(), 3u * kProvenReads);
}

}  // namespace
}  // namespace tidelock
