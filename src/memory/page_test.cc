#include "memory/page.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/rng.h"
#include "memory/page_layout.h"

namespace tidelock {
namespace {

std::string path_of(const char* name) {
  return testing::TempDir() + "tidelock_page_" + std::to_string(::getpid()) + "_" + name;
}

PageOptions options(const std::string& path, std::uint64_t boot = 77) {
  PageOptions o;
  o.path = path;
  o.edge_boot = Boot{boot};
  o.shim = {5, 6, 7};
  o.namespaces = {{.prefix = "model:",
                   .consistency = Consistency::kStrong,
                   .scope = Scope::kRegion,
                   .write_mode = WriteMode::kThrough},
                  {.prefix = "", .on_stale = {OnStale::kFallback, OnStale::kFail}}};
  return o;
}

struct PageTest : testing::Test {
  std::string path = path_of(testing::UnitTest::GetInstance()->current_test_info()->name());
  void TearDown() override { ::unlink(path.c_str()); }
};

TEST_F(PageTest, ANewPageProvesNothing) {
  auto writer = PageWriter::create(options(path));
  ASSERT_TRUE(writer) << writer.error().message;
  auto reader = PageReader::open(path);
  ASSERT_TRUE(reader) << reader.error().message;
  const PageView view = reader->view();
  EXPECT_EQ(view.fresh_at(), kNever);
  EXPECT_EQ(view.behind_at(), kNever);
  EXPECT_EQ(view.lease_until(), kNever);
  EXPECT_FALSE(view.revoked());
  EXPECT_FALSE(reader->replaced());
  EXPECT_EQ(view.edge_boot(), Boot{77});
  EXPECT_EQ(view.shim(), (ClockShim{5, 6, 7}));
  EXPECT_EQ(view.rho_ppm(), ClusterSettings{}.rho_ppm);
  const auto policies = view.policies();
  ASSERT_TRUE(policies);
  EXPECT_EQ(*policies, options(path).namespaces);
}

TEST_F(PageTest, ShowsWhatTheEdgePublishes) {  // F2, F4, F8
  auto writer = PageWriter::create(options(path));
  ASSERT_TRUE(writer);
  const auto reader = PageReader::open(path);
  ASSERT_TRUE(reader);
  const PageView view = reader->view();
  writer->publish_applied(Index{9});
  writer->publish_writers(10);
  writer->publish_fresh_at(1'000);
  writer->publish_lease(2'000);
  writer->set_epochs(3, 2);
  writer->set_session(SessionNo{4});
  writer->set_breaker(1, Breaker::kHalfOpen);
  EXPECT_EQ(view.applied(), Index{9});
  EXPECT_EQ(view.fresh_at(), 1'000);
  EXPECT_EQ(view.behind_at(), 990);
  EXPECT_EQ(view.lease_until(), 2'000);
  EXPECT_EQ(view.verified_epoch(), 3u);
  EXPECT_EQ(view.strong_epoch(), 2u);
  EXPECT_EQ(view.session(), SessionNo{4});
  EXPECT_EQ(view.breaker(1), Breaker::kHalfOpen);
  EXPECT_EQ(view.breaker(0), Breaker::kClosed);

  writer->publish_writers(5);
  EXPECT_EQ(view.behind_at(), 990) << "a shorter flush age is true of the next proof only";
  writer->publish_writers(500);
  EXPECT_EQ(view.behind_at(), 500) << "a longer one counts at once";
  writer->publish_writers(kForever);
  EXPECT_EQ(view.behind_at(), kNever) << "a writer is away";

  writer->drop_proofs(17, 42);  // C2
  EXPECT_EQ(view.fresh_at(), kNever);
  EXPECT_EQ(view.lease_until(), kNever);
  EXPECT_EQ(view.proofs_from(), 17);
  EXPECT_EQ(view.suspended_ns(), 42);
}

TEST_F(PageTest, SlotsCountBlocksAndVersions) {  // S2, F5
  auto writer = PageWriter::create(options(path));
  ASSERT_TRUE(writer);
  const PageView view = writer->view();
  const std::uint64_t first = view.slot_word(5);
  EXPECT_EQ(slot_blocks(first), 0u);
  const std::uint16_t slots[] = {5, 5, 6};  // two keys of one write in one slot
  writer->open_block(slots);
  EXPECT_EQ(slot_blocks(view.slot_word(5)), 2u);
  EXPECT_EQ(slot_blocks(view.slot_word(6)), 1u);
  EXPECT_EQ(slot_version(view.slot_word(5)), slot_version(first)) << "a block changes no version";
  writer->bump_slot(5);
  EXPECT_EQ(slot_version(view.slot_word(5)), slot_version(first) + 1);
  EXPECT_EQ(slot_blocks(view.slot_word(5)), 2u) << "a bump opens no block";
  writer->close_block(slots);
  EXPECT_EQ(slot_blocks(view.slot_word(5)), 0u);
  EXPECT_EQ(view.slot_word(4), first);

  const std::vector<std::uint16_t> many(300, 8);  // more than eight bits can show
  writer->open_block(many);
  EXPECT_EQ(slot_blocks(view.slot_word(8)), 255u);
  writer->close_block(std::span(many).first(299));
  EXPECT_EQ(slot_blocks(view.slot_word(8)), 1u) << "still blocked by the last one";
  writer->close_block(std::span(many).first(1));
  EXPECT_EQ(slot_blocks(view.slot_word(8)), 0u);
}

TEST_F(PageTest, GenerationsAreOddInsideAWrite) {  // S4
  auto writer = PageWriter::create(options(path));
  ASSERT_TRUE(writer);
  writer->begin_write(1);
  EXPECT_EQ(writer->view().generation(1) & 1, 1u);
  EXPECT_EQ(writer->view().generation(0) & 1, 0u);
  writer->end_write(1);
  EXPECT_EQ(writer->view().generation(1), 2u);
}

TEST_F(PageTest, ANewEdgeRevokesTheFormerPage) {  // F11
  ASSERT_FALSE(PageWriter::revoke(path).value()) << "nothing there";
  auto former = PageWriter::create(options(path, 1));
  ASSERT_TRUE(former);
  former->publish_fresh_at(1'000);
  former->publish_lease(kForever);
  const auto orphan = PageReader::open(path);  // an app that was stopped
  ASSERT_TRUE(orphan);

  ASSERT_TRUE(PageWriter::revoke(path).value());
  auto next = PageWriter::create(options(path, 2));
  ASSERT_TRUE(next);
  EXPECT_TRUE(orphan->replaced());
  EXPECT_TRUE(orphan->view().revoked());
  EXPECT_EQ(orphan->view().lease_until(), kNever);
  EXPECT_EQ(orphan->view().fresh_at(), kNever);
  EXPECT_EQ(orphan->view().generation(0) & 1, 1u) << "retired: no snapshot passes";
  const auto reader = PageReader::open(path);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->view().edge_boot(), Boot{2});
  EXPECT_NE(reader->view().slot_word(0), orphan->view().slot_word(0)) << "no slot version of a former page fits";
}

TEST_F(PageTest, ReplacedIsSeenWithoutRevocation) {
  auto former = PageWriter::create(options(path, 1));
  const auto reader = PageReader::open(path);
  ASSERT_TRUE(reader);
  auto next = PageWriter::create(options(path, 2));
  EXPECT_TRUE(reader->replaced());
}

TEST_F(PageTest, RefusesWhatIsNotItsPage) {  // DESIGN 6
  struct Case {
    const char* why;
    void (*spoil)(PageLayout&);
    Code code;
    const char* says;
  };
  const Case cases[] = {
      {"not a page", [](PageLayout& p) { p.magic = 1; }, Code::kCorrupt, "not a Tidelock page"},
      {"another layout", [](PageLayout& p) { p.layout_version = 3; }, Code::kCorrupt, "page layout 3"},
      {"another size", [](PageLayout& p) { p.size_bytes = 1; }, Code::kCorrupt, "page layout"},
      {"another boot", [](PageLayout& p) { p.boot_id[0] = '?'; }, Code::kDenied, "another boot"},
      {"another time namespace", [](PageLayout& p) { p.time_namespace ^= 1; }, Code::kDenied, "time namespace"},
  };
  for (const Case& c : cases) {
    auto writer = PageWriter::create(options(path));
    ASSERT_TRUE(writer);
    {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      alignas(64) static std::array<char, sizeof(PageLayout)> bytes;
      file.read(bytes.data(), bytes.size());
      c.spoil(*reinterpret_cast<PageLayout*>(bytes.data()));
      file.seekp(0);
      file.write(bytes.data(), bytes.size());
    }
    const auto reader = PageReader::open(path);
    ASSERT_FALSE(reader) << c.why;
    EXPECT_EQ(reader.error().code, c.code) << c.why;
    EXPECT_NE(reader.error().message.find(c.says), std::string::npos) << reader.error().message;
  }
  EXPECT_EQ(PageReader::open(path + ".none").error().code, Code::kUnavailable);
  EXPECT_EQ(PageReader::open(testing::TempDir()).error().code, Code::kCorrupt) << "a directory";
  std::ofstream(path, std::ios::trunc) << "short";
  EXPECT_EQ(PageReader::open(path).error().code, Code::kCorrupt);
  EXPECT_EQ(PageWriter::revoke(path).error().code, Code::kCorrupt) << "what cannot be revoked is an error, not silence";
}

TEST_F(PageTest, RefusesPoliciesThatNoHubCouldHaveMade) {
  struct Case {
    const char* why;
    void (*spoil)(PagePolicy&);
  };
  const Case cases[] = {{"a time to live before it began", [](PagePolicy& p) { p.ttl_ns = kNever; }},
                        {"a bound of years", [](PagePolicy& p) { p.bound_ns = kForever; }},
                        {"no step at all", [](PagePolicy& p) { p.on_stale_count = 0; }},
                        {"a prefix beyond its room", [](PagePolicy& p) { p.prefix_bytes = 200; }}};
  for (const Case& c : cases) {
    auto writer = PageWriter::create(options(path));
    ASSERT_TRUE(writer);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    PagePolicy policy{};
    const auto at = static_cast<std::streamoff>(offsetof(PageLayout, policies) + sizeof policy);  // the second one
    file.seekg(at);
    file.read(reinterpret_cast<char*>(&policy), sizeof policy);
    c.spoil(policy);
    file.seekp(at);
    file.write(reinterpret_cast<const char*>(&policy), sizeof policy);
    file.close();
    const auto reader = PageReader::open(path);
    ASSERT_TRUE(reader);
    const auto policies = reader->view().policies();
    ASSERT_FALSE(policies) << c.why;
    EXPECT_EQ(policies.error().code, Code::kCorrupt) << c.why;
  }
}

TEST_F(PageTest, RefusesBadOptions) {
  PageOptions none = options(path);
  none.namespaces.clear();
  PageOptions many = options(path);
  many.namespaces.resize(kNamespacesMax + 1);
  PageOptions wide = options(path);
  wide.namespaces[0].prefix.assign(kPagePrefixBytesMax + 1, 'x');
  PageOptions steps = options(path);
  steps.namespaces[0].on_stale.assign(kPageOnStaleMax + 1, OnStale::kWait);
  PageOptions bootless = options(path, 0);
  const std::pair<PageOptions, const char*> cases[] = {
      {none, "page: 0 namespaces, expected 1..64"},
      {many, "page: 65 namespaces, expected 1..64"},
      {wide, "page: prefix of 129 bytes, expected at most 128"},
      {steps, "page: namespace 'model:': on_stale has 9 steps, expected at most 8"},
      {bootless, "boot"},
  };
  for (const auto& [o, says] : cases) {
    const auto writer = PageWriter::create(o);
    ASSERT_FALSE(writer) << says;
    EXPECT_EQ(writer.error().code, Code::kInvalid) << says;
    EXPECT_NE(writer.error().message.find(says), std::string::npos) << writer.error().message;
  }
  EXPECT_NE(::access((path + ".new").c_str(), F_OK), 0) << "nothing is left behind";
}

TEST_F(PageTest, RandomBytesNeverCrash) {  // bounds-checked: nothing on the page is a pointer or an index
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    auto writer = PageWriter::create(options(path));
    ASSERT_TRUE(writer);
    Rng rng(seed);
    {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      // Spare the head in half the runs, so that the body is reached.
      const std::uint64_t from = seed % 2 == 0 ? offsetof(PageLayout, fresh_at) : 0;
      for (int i = 0; i < 4'000; ++i) {
        file.seekp(static_cast<std::streamoff>(from + rng.below(20'000)));
        file.put(static_cast<char>(rng.next()));
      }
    }
    const auto reader = PageReader::open(path);
    if (!reader) continue;
    const PageView view = reader->view();
    (void)view.policies();
    for (std::uint16_t ns = 0; ns < kNamespacesMax; ++ns)
      (void)(view.generation(ns) + static_cast<int>(view.breaker(ns)));
    for (std::size_t slot = 0; slot < kSlots; ++slot) (void)view.slot_word(static_cast<std::uint16_t>(slot));
    (void)view.revoked();
  }
}

TEST_F(PageTest, PoliciesAreReadWholeWhileTheyChange) {
  auto writer = PageWriter::create(options(path));
  ASSERT_TRUE(writer);
  const PageView view = writer->view();
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done.load(std::memory_order_relaxed)) {
      const auto policies = view.policies();
      if (!policies) continue;  // kBusy
      for (const Namespace& ns : *policies) ASSERT_EQ(ns.bound_ns, ns.ttl_ns) << "half of each";
    }
  });
  for (Nanos i = 0; i < 3'000; ++i) {
    std::vector<Namespace> namespaces(1 + i % 5);
    for (Namespace& ns : namespaces) ns.bound_ns = ns.ttl_ns = i;
    ASSERT_TRUE(writer->set_policies(namespaces, {}));
  }
  done = true;
  reader.join();
}

}  // namespace
}  // namespace tidelock
