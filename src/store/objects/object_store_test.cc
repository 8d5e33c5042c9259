// What every engine promises, on every engine: a folder, a Ceph object gateway, an Azurite.
#include "store/objects/object_store.h"

#include "store/objects/conformance_fixture.h"

namespace tidelock {
namespace {

TEST(ObjectKey, IsAPathWithoutTricks) {
  const struct {
    const char* why;
    std::string key;
    bool good;
  } cases[] = {{"a name", "a", true},
               {"a path", "models/detector/1.0.0/model.onnx", true},
               {"letters of other scripts, spaces and signs", "mødel/ä b+c%20&=?#~;:@,'()!*\"", true},
               {"dots in names", "a/..b/.c", true},
               {"the longest part", std::string(kObjectKeyPartBytesMax, 'x'), true},
               {"too long a part", std::string(kObjectKeyPartBytesMax + 1, 'x'), false},
               {"too long", std::string(200, 'x') + "/" + std::string(200, 'x') + "/" + std::string(200, 'x'), false},
               {"empty", "", false},
               {"a slash before", "/a", false},
               {"a slash behind", "a/", false},
               {"an empty part", "a//b", false},
               {"the folder above", "a/../b", false},
               {"the same folder", "./a", false},
               {"a line break", "a\nb", false},
               {"a zero byte", std::string("a\0b", 3), false},
               {"not UTF-8", "\xC3(", false},
               {"UTF-8 of more bytes than needed", "\xC0\xAF", false},
               {"half a letter", "a\xE2\x82", false},
               {"a surrogate", "\xED\xA0\x80", false}};
  for (const auto& c : cases) {
    const auto ok = validate_object_key(c.key);
    EXPECT_EQ(ok.has_value(), c.good) << c.why;
    if (!ok) {
      EXPECT_EQ(ok.error().code, Code::kInvalid) << c.why;
    }
  }
}

class EveryStore : public ObjectStoreBench, public testing::WithParamInterface<ObjectEngine> {
 protected:
  void SetUp() override {
    if (const std::string why = missing(GetParam()); !why.empty()) GTEST_SKIP() << why;
    store_ = open(options(GetParam()));
    ASSERT_NE(store_, nullptr);
  }
  std::unique_ptr<ObjectStore> store_;
};

TEST_P(EveryStore, GivesBackWhatWasPut) {
  const std::size_t sizes[] = {0, 1, 70'000, kPartBytes, kPartBytes + 1, 2 * kPartBytes + 123'456};
  for (const std::size_t size : sizes) {
    const Bytes bytes = some_bytes(size, size + 1);
    const std::string key = "sizes/" + std::to_string(size);
    const auto done = put(*store_, key, bytes);
    ASSERT_TRUE(done) << size << ": " << done.error().message;
    const auto back = get(*store_, key);
    ASSERT_TRUE(back) << size << ": " << back.error().message;
    EXPECT_TRUE(*back == bytes) << size;
    const auto info = store_->head(key);
    ASSERT_TRUE(info) << info.error().message;
    EXPECT_EQ(info->size_bytes, size);
    if (GetParam() != ObjectEngine::kFolder) {
      EXPECT_EQ(info->sha256, sha256(bytes)) << "kept beside it, also by an upload in parts";
    }
  }
  const auto again = put(*store_, "sizes/1", "other");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(get(*store_, "sizes/1").value_or("none"), "other") << "a put replaces the whole object";
  EXPECT_TRUE(waits_.empty()) << "nothing had to be repeated";
}

TEST_P(EveryStore, GivesParts) {
  const Bytes bytes = some_bytes(100'000);
  ASSERT_TRUE(put(*store_, "object", bytes));
  const struct {
    const char* why;
    std::uint64_t offset;
    std::optional<std::uint64_t> bytes_max;
  } cases[] = {{"from the middle to the end", 50'000, std::nullopt},
               {"the last byte", 99'999, std::nullopt},
               {"a window", 10, 20},
               {"from the beginning", 0, 1},
               {"a window over the end", 99'990, 1'000},
               {"nothing", 10, 0},
               {"from the end", 100'000, std::nullopt},
               {"all of it", 0, 1'000'000}};
  for (const auto& c : cases) {
    const auto part = get(*store_, "object", c.offset, c.bytes_max);
    ASSERT_TRUE(part) << c.why << ": " << part.error().message;
    EXPECT_TRUE(*part == bytes.substr(c.offset, c.bytes_max.value_or(bytes.size()))) << c.why;
  }
  refused(get(*store_, "object", 100'001), Code::kInvalid, "100001", "beyond the end");
  refused(get(*store_, "object", kObjectBytesMax + 1), Code::kInvalid, "offset", "beyond anything");
}

TEST_P(EveryStore, KeepsKeysAsTheyAre) {
  const std::string keys[] = {"plain.txt",
                              "with space",
                              "plus+plus",
                              "percent%20sign",
                              "a&b=c?d#e",
                              "tilde~semi;colon:",
                              "quote'(paren)!*",
                              "at@comma,dollar$",
                              "mødel/größe/模型",
                              "deep/er/and/deeper",
                              "\"quoted\" <angle>",
                              "trailing.dots..x",
                              "%41"};
  std::set<std::string> expected;
  for (const std::string& key : keys) {
    const auto done = put(*store_, "k/" + key, key);
    ASSERT_TRUE(done) << key << ": " << done.error().message;
    expected.insert("k/" + key);
  }
  for (const std::string& key : keys) EXPECT_EQ(get(*store_, "k/" + key).value_or("none"), key);
  const auto page = store_->list("k/", "", 100);
  ASSERT_TRUE(page) << page.error().message;
  std::set<std::string> listed;
  for (const ObjectInfo& one : page->objects) listed.insert(one.key);
  EXPECT_EQ(listed, expected);
  const auto some = store_->list("k/with space", "", 100);
  ASSERT_TRUE(some) << some.error().message;
  EXPECT_EQ(some->objects.size(), 1u) << "a prefix is encoded, too";
  for (const std::string& key : keys) EXPECT_TRUE(store_->remove("k/" + key)) << key;
  EXPECT_TRUE(store_->list("k/", "", 100)->objects.empty());
}

TEST_P(EveryStore, ListsInPages) {
  std::vector<std::string> expected;
  for (int i = 0; i < 23; ++i) expected.push_back("p/" + std::to_string(100 + i));
  for (const std::string& key : expected) ASSERT_TRUE(put(*store_, key, "x"));
  ASSERT_TRUE(put(*store_, "other", "y"));
  std::vector<std::string> listed;
  std::string from;
  int pages = 0;
  do {
    const auto page = store_->list("p/", from, 5);
    ASSERT_TRUE(page) << page.error().message;
    ASSERT_LE(page->objects.size(), 5u);
    for (const ObjectInfo& one : page->objects) {
      listed.push_back(one.key);
      EXPECT_EQ(one.size_bytes, 1u);
    }
    from = page->next;
    ASSERT_LT(++pages, 20);
  } while (!from.empty());
  EXPECT_EQ(listed, expected);
  EXPECT_GE(pages, 5);
  const auto nothing = store_->list("nothing/of/this", "", 5);
  ASSERT_TRUE(nothing) << nothing.error().message;
  EXPECT_TRUE(nothing->objects.empty() && nothing->next.empty());
}

TEST_P(EveryStore, WhatIsNotThereIsNotFoundAndRemovedTwice) {
  refused(get(*store_, "absent"), Code::kNotFound, "absent", "get");
  refused(store_->head("absent/too"), Code::kNotFound, "absent/too", "head");
  ASSERT_TRUE(put(*store_, "here", "x"));
  EXPECT_TRUE(store_->remove("here"));
  EXPECT_TRUE(store_->remove("here")) << "removed is removed";
  refused(get(*store_, "here"), Code::kNotFound, "here", "removed");
}

TEST_P(EveryStore, PutsNothingThatIsNotWhatItsDigestSays) {
  const Bytes bytes = some_bytes(100), large = some_bytes(kPartBytes + 5);
  refused(store_->put("a", 100, sha256("other"), source_of(bytes)), Code::kCorrupt, "do not hash", "other bytes");
  refused(store_->put("b", large.size(), sha256("other"), source_of(large)), Code::kCorrupt, "do not hash", "in parts");
  refused(store_->put("c", 101, sha256(bytes), source_of(bytes)), Code::kCorrupt, "the source gave", "too short");
  refused(store_->put("d", large.size() + 1, sha256(large), source_of(large)), Code::kCorrupt, "the source gave",
          "too short, in parts");
  refused(store_->put("e", 100, "short", source_of(bytes)), Code::kInvalid, "digest", "no digest");
  refused(store_->put("f", kObjectBytesMax + 1, sha256(bytes), source_of(bytes)), Code::kInvalid, "bytes", "too large");
  refused(store_->put("../g", 100, sha256(bytes), source_of(bytes)), Code::kInvalid, "object key", "a bad key");
  const auto broken = [](std::uint64_t, std::size_t) -> Result<Bytes> { return fail(Code::kBusy, "disk gone"); };
  refused(store_->put("h", 100, sha256(bytes), broken), Code::kBusy, "disk gone", "the source's own error");
  EXPECT_TRUE(store_->list("", "", 100)->objects.empty());
}

TEST_P(EveryStore, AnErrorOfTheSinkEndsTheGet) {
  ASSERT_TRUE(put(*store_, "object", some_bytes(3'000'000)));
  int calls = 0;
  const auto full = store_->get("object", 0, std::nullopt, [&](BytesView) -> Result<void> {
    ++calls;
    return fail(Code::kUnavailable, "no room here");
  });
  refused(full, Code::kUnavailable, "no room here", "as it was, and not repeated though its code says one may");
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(waits_.empty());
}

TEST_P(EveryStore, AStoppedStoreRefuses) {
  store_->stop();
  refused(put(*store_, "a", "x"), Code::kBusy, "stopped", "put");
  refused(get(*store_, "a"), Code::kBusy, "stopped", "get");
}

INSTANTIATE_TEST_SUITE_P(Objects, EveryStore,
                         testing::Values(ObjectEngine::kFolder, ObjectEngine::kS3, ObjectEngine::kAzure),
                         [](const auto& tested) { return engine_name(tested.param); });

TEST_F(ObjectStoreBench, WrongSettingsAreNamed) {
  const struct {
    const char* why;
    ObjectEngine engine;
    std::string url, region;
    bool plain;
    const char* says;
  } cases[] = {
      {"a relative folder", ObjectEngine::kFolder, "models", "", false, "absolute path"},
      {"no bucket", ObjectEngine::kS3, "https://s3.example", "us-east-1", false, "bucket"},
      {"a bucket with a slash", ObjectEngine::kS3, "https://s3.example/a/b", "us-east-1", false, "bucket"},
      {"no URL", ObjectEngine::kS3, "not a url", "us-east-1", false, "url"},
      {"another scheme", ObjectEngine::kS3, "ftp://host/bucket", "us-east-1", false, "scheme"},
      {"plain http to elsewhere", ObjectEngine::kS3, "http://s3.example/bucket", "us-east-1", false, "plain http"},
      {"a name that only begins like this machine's", ObjectEngine::kS3, "http://127.0.0.1.evil.example/bucket",
       "us-east-1", false, "plain http"},
      {"a secret in the URL", ObjectEngine::kS3, "https://user:TideLockTestSecretKey@host/bucket", "us-east-1", false,
       "credentials"},
      {"a token in the URL", ObjectEngine::kAzure, "https://a.example/c?sig=abc", "", false, "query"},
      {"no region", ObjectEngine::kS3, "https://s3.example/bucket", "", false, "region"},
      {"a region with a line break", ObjectEngine::kS3, "https://s3.example/bucket", "a\nb", false, "region"},
      {"no container", ObjectEngine::kAzure, "https://a.example/", "", false, "container"},
  };
  for (const auto& c : cases) {
    ObjectStoreOptions how;
    how.engine = c.engine;
    how.url = c.url;
    how.region = c.region;
    refused(open_object_store(how, clock_), Code::kInvalid, c.says, c.why);
  }
  ObjectStoreOptions of_the_machine;
  of_the_machine.engine = ObjectEngine::kAzure;
  of_the_machine.url = "https://a.example/container";
  of_the_machine.credentials = CredentialKind::kMetadata;
  refused(open_object_store(of_the_machine, clock_), Code::kInvalid, "credentials = \"metadata\": is for s3",
          "a machine's role, of which Azure has none");
  ObjectStoreOptions how;
  how.engine = ObjectEngine::kS3;
  how.url = "http://s3.example/bucket";
  how.allow_plain_http = true;
  EXPECT_TRUE(open_object_store(how, clock_)) << "when somebody has said so";
}

}  // namespace
}  // namespace tidelock
