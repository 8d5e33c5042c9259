// For tests: page and arena of an edge that is driven by hand, and where a reader finds them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "memory/local_reader.h"

namespace tidelock {

inline const std::vector<Namespace>& namespaces() {
  static const std::vector<Namespace> all = {{.prefix = "model:",
                                              .consistency = Consistency::kStrong,
                                              .scope = Scope::kRegion,
                                              .write_mode = WriteMode::kThrough},
                                             {.prefix = "feature:",
                                              .consistency = Consistency::kBounded,
                                              .bound_ns = 5 * kSecond,
                                              .bound_floor_ns = kSecond / 2,
                                              .scope = Scope::kRegion,
                                              .write_mode = WriteMode::kBehind,
                                              .flush_age_ns = kSecond},
                                             {.prefix = ""}};
  return all;
}

// An edge as its apps see it: page and arena, driven by hand.
struct Edge {
  struct Paths {
    std::string page, arena;
  };
  Edge(const std::string& base, std::uint64_t boot, std::size_t arena_bytes = kArenaBytesMin)
      : Edge(Paths{base + ".page", base + ".arena"}, boot, tidelock::namespaces(), arena_bytes) {}
  Edge(const Paths& paths, std::uint64_t boot, std::vector<Namespace> its_namespaces,
       std::size_t arena_bytes = kArenaBytesMin)
      : namespaces(std::move(its_namespaces)) {
    (void)PageWriter::revoke(paths.page);  // F11
    auto a = ArenaWriter::create({paths.arena, Boot{boot}, arena_bytes});
    EXPECT_TRUE(a) << a.error().message;
    arena = std::make_unique<ArenaWriter>(*std::move(a));
    PageOptions options;
    options.path = paths.page;
    options.edge_boot = Boot{boot};
    options.namespaces = namespaces;
    auto p = PageWriter::create(options);
    EXPECT_TRUE(p) << p.error().message;
    page = std::make_unique<PageWriter>(*std::move(p));
  }
  void prove(Nanos age = 0, Nanos lease = 1000 * kSecond) {
    page->publish_applied(Index{100});
    page->publish_writers(kSecond);
    page->publish_fresh_at(clock.now() - age);
    page->publish_lease(clock.now() + lease);
  }
  // A write as it arrives in the feed, in the writer's order (F5).
  void write(const std::string& key, const std::string& value, std::uint64_t version, bool negative = false) {
    const std::uint16_t ns = namespace_number(namespaces, key);
    page->begin_write(ns);
    EntryMeta meta;
    meta.version = Index{version};
    meta.epoch = 1;
    meta.negative = negative;
    EXPECT_TRUE(arena->put(key, value, meta));
    page->bump_slot(slot_of(key));
    page->end_write(ns);
  }
  ElapsedClock clock;
  const std::vector<Namespace> namespaces;
  std::unique_ptr<ArenaWriter> arena;
  std::unique_ptr<PageWriter> page;
};

struct LocalReaderTest : testing::Test {
  std::string base = testing::TempDir() + "tidelock_reader_" + std::to_string(::getpid()) + "_" +
                     testing::UnitTest::GetInstance()->current_test_info()->name();
  LocalReaderOptions options{base + ".page", base + ".arena", {.capacity_bytes = 1 << 20}};
  std::string value;
  void TearDown() override {
    ::unlink((base + ".page").c_str());
    ::unlink((base + ".arena").c_str());
  }
};

}  // namespace tidelock
