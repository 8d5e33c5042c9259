// S3 against a gateway that verifies signatures: what it refuses, and what breaks on the way. libcurl signs with the
// time that time() gives: this program has its own, so that a test can be late.
#include <ctime>

#include "base/wall_clock.h"
#include "store/objects/conformance_fixture.h"

namespace {
std::atomic<std::int64_t> seconds_late{0};
}  // namespace
extern "C" time_t time(time_t* out) noexcept {
  const time_t now = static_cast<time_t>(tidelock::wall_ms_now() / 1'000) - seconds_late.load();
  if (out != nullptr) *out = now;
  return now;
}

namespace tidelock {
namespace {

using Plan = ScriptedServer::Plan;

class S3StoreTest : public ObjectStoreBench {
 protected:
  void SetUp() override {
    if (!RadosGateway::installed()) GTEST_SKIP() << RadosGateway::kMissing;
    ASSERT_NE(RadosGateway::running(), nullptr);
    direct_ = open(options(ObjectEngine::kS3));
    ASSERT_NE(direct_, nullptr);
  }
  void TearDown() override { seconds_late = 0; }
  std::unique_ptr<ObjectStore> direct_;
};

TEST_F(S3StoreTest, WhoIsNotTheOwnerIsRefused) {
  ASSERT_TRUE(put(*direct_, "object", "x"));
  const struct {
    const char* why;
    std::string id, secret;
    const char* says;
  } cases[] = {
      {"another secret", RadosGateway::kAccessKey, "TideLockTestSecretKey/+forRadosgx", "SignatureDoesNotMatch"},
      {"an unknown key", "NOBODY", RadosGateway::kSecret, "InvalidAccessKeyId"}};
  for (const auto& c : cases) {
    auto how = options(ObjectEngine::kS3);
    how.credentials_file = write_secret("aws_access_key_id=" + c.id + "\naws_secret_access_key=" + c.secret + "\n");
    const auto store = open(how);
    refused(get(*store, "object"), Code::kDenied, c.says, c.why);
    refused(put(*store, "object", "y"), Code::kDenied, c.says, c.why);
    refused(put(*store, "large", some_bytes(kPartBytes + 1)), Code::kDenied, c.says, c.why);
    refused(store->list("", "", 5), Code::kDenied, c.says, c.why);
    refused(store->remove("object"), Code::kDenied, c.says, c.why);
    refused(store->head("object"), Code::kDenied, "403", c.why);
  }
  EXPECT_EQ(get(*direct_, "object").value_or("none"), "x");
  EXPECT_TRUE(waits_.empty()) << "what is refused is not repeated";
}

TEST_F(S3StoreTest, AClockThatIsWrongIsNamed) {
  ASSERT_TRUE(put(*direct_, "object", "x"));
  seconds_late = 20 * 60;
  refused(get(*direct_, "object"), Code::kDenied, "RequestTimeTooSkewed: this machine's clock", "twenty minutes late");
  seconds_late = 60;
  EXPECT_TRUE(get(*direct_, "object")) << "a minute is allowed";
}

TEST_F(S3StoreTest, TheServerChecksThePayloadAgainstItsSignedDigest) {
  const WebSignature signature{"us-east-1", RadosGateway::kAccessKey, RadosGateway::kSecret};
  WebClient web{WebOptions{}};
  WebRequest request;
  request.method = "PUT";
  request.url = RadosGateway::running()->url() + "/" + bucket_ + "/object";
  request.body = "the bytes that travel";
  request.headers = {{"x-amz-content-sha256", to_hex(sha256("the bytes that were signed"))}};
  request.signature = &signature;
  const auto answer = web.perform(request);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 400);
  EXPECT_NE(answer->body.find("XAmzContentSHA256Mismatch"), std::string::npos) << answer->body;
  refused(get(*direct_, "object"), Code::kNotFound, "object", "nothing was kept");
}

TEST_F(S3StoreTest, AMissingBucketIsNoMissingKey) {
  auto how = options(ObjectEngine::kS3);
  how.url += "-elsewhere";
  const auto store = open(how);
  refused(get(*store, "object"), Code::kInvalid, "NoSuchBucket: make the bucket", "get");
  refused(store->list("", "", 5), Code::kInvalid, "NoSuchBucket", "list");
}

TEST_F(S3StoreTest, AGetGoesOnAtTheByteItHas) {
  const Bytes bytes = some_bytes(10'000'000);
  ASSERT_TRUE(put(*direct_, "object", bytes));
  int cuts = 3;
  ScriptedServer proxy(
      [&](const std::string&) {
        Plan plan;
        if (cuts-- > 0) plan.cut_answer_after = 2'000'000;
        return plan;
      },
      RadosGateway::running()->port());
  const auto store = open(options(ObjectEngine::kS3, proxy.port()));
  const auto back = get(*store, "object");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE(*back == bytes);
  const auto heads = proxy.heads();
  ASSERT_EQ(heads.size(), 4u);
  EXPECT_EQ(heads[0].find("Range:"), std::string::npos);
  for (std::size_t i = 1; i < heads.size(); ++i) {
    const std::size_t range = heads[i].find("Range: bytes=");
    ASSERT_NE(range, std::string::npos) << heads[i];
    const long from = std::strtol(heads[i].c_str() + range + std::string("Range: bytes=").size(), nullptr, 10);
    const long passed = static_cast<long>(i) * 2'000'000;
    EXPECT_LE(from, passed) << "what was cut off, heads not counted";
    EXPECT_GE(from, passed - 8'000);
    EXPECT_NE(heads[i].find("If-Match:"), std::string::npos) << "of the same object, or none";
  }
  EXPECT_EQ(waits_.size(), 3u);
}

TEST_F(S3StoreTest, AnObjectThatChangedMeanwhileIsNotMixed) {
  ASSERT_TRUE(put(*direct_, "object", some_bytes(5'000'000, 1)));
  ScriptedServer proxy(
      [first = true](const std::string&) mutable {
        Plan plan;
        if (std::exchange(first, false)) plan.cut_answer_after = 1'000'000;
        return plan;
      },
      RadosGateway::running()->port());
  auto how = options(ObjectEngine::kS3, proxy.port());
  how.pause = [&](Nanos) { return put(*direct_, "object", some_bytes(5'000'000, 2)).has_value(); };
  refused(get(*open(how), "object"), Code::kConflict, "412", "another object under the key");
}

TEST_F(S3StoreTest, AnAnswerThatIsAlwaysCutIsAnError) {
  ASSERT_TRUE(put(*direct_, "object", some_bytes(100'000)));
  ScriptedServer proxy(
      [](const std::string&) {
        Plan plan;
        plan.cut_answer_after = 60;  // within the head
        return plan;
      },
      RadosGateway::running()->port());
  const auto store = open(options(ObjectEngine::kS3, proxy.port()));
  refused(get(*store, "object"), Code::kUnavailable, "(6 attempts)", "no progress");
  ASSERT_EQ(waits_.size(), 5u);
  for (std::size_t i = 0; i < waits_.size(); ++i) {
    const Nanos step = (100 * kMillisecond) << i;
    EXPECT_GE(waits_[i], step / 2) << i;
    EXPECT_LE(waits_[i], step) << i << ": twice as long each time, jittered";
  }
}

TEST_F(S3StoreTest, AShortBodyIsNeverTakenForAWholeOne) {
  ScriptedServer liar(
      [](const std::string&) { return Plan{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly these"}; });
  auto how = options(ObjectEngine::kS3, liar.port());
  how.attempts_max = 2;
  refused(get(*open(how), "object"), Code::kCorrupt, "got other bytes",
          "the rest was asked for, and the beginning came");
}

TEST_F(S3StoreTest, APutIsRepeatedWhole) {
  const Bytes bytes = some_bytes(2 * kPartBytes + 77);
  int bodies_to_cut = 2, answers_to_lose = 1;
  ScriptedServer proxy(
      [&](const std::string& head) {
        Plan plan;
        const bool part = head.find("partNumber=2") != std::string::npos;
        const bool joins = head.starts_with("POST") && head.find("uploads=") == std::string::npos;
        if (part && bodies_to_cut-- > 0) plan.cut_request_after = 1'000'000;
        if (joins && answers_to_lose-- > 0) plan.cut_answer_after = 0;
        return plan;
      },
      RadosGateway::running()->port());
  const auto store = open(options(ObjectEngine::kS3, proxy.port()));
  const auto done = put(*store, "object", bytes);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(get(*direct_, "object").value_or("") == bytes);
  EXPECT_EQ(waits_.size(), 3u) << "two bodies cut, and the answer to the last request lost";
}

TEST_F(S3StoreTest, SlowDownIsObeyed) {
  ASSERT_TRUE(put(*direct_, "object", "x"));
  int busy = 2;
  ScriptedServer proxy(
      [&](const std::string&) {
        Plan plan;
        if (busy-- > 0)
          plan.answer = ScriptedServer::answer(503, "<Error><Code>SlowDown</Code></Error>", "Retry-After: 7\r\n");
        return plan;
      },
      RadosGateway::running()->port());
  auto how = options(ObjectEngine::kS3, proxy.port());
  EXPECT_EQ(get(*open(how), "object").value_or("none"), "x");
  EXPECT_EQ(waits_, (std::vector<Nanos>{7 * kSecond, 7 * kSecond}));
  busy = 1'000;
  waits_.clear();
  how.attempts_max = 3;
  refused(get(*open(how), "object"), Code::kBusy, "503 SlowDown (3 attempts)", "for good");
  how.deadline_ms = 5'000;
  refused(get(*open(how), "object"), Code::kBusy, "no time is left", "the store asks for longer than there is time");
}

TEST_F(S3StoreTest, NewCredentialsAreTakenUpWhenTheOldAreRefused) {
  ASSERT_TRUE(put(*direct_, "object", "x"));
  auto how = options(ObjectEngine::kS3);
  const std::string good = how.credentials_file;
  const std::string file = write_secret("aws_access_key_id = NOBODY\naws_secret_access_key = none\n");
  how.credentials_file = file;
  const auto store = open(how);
  refused(get(*store, "object"), Code::kDenied, "InvalidAccessKeyId", "as the file says");
  std::filesystem::rename(good, file);
  EXPECT_EQ(get(*store, "object").value_or("none"), "x") << "the file was replaced: no restart";
}

TEST_F(S3StoreTest, ASessionTokenIsSignedAndARedirectIsNotFollowed) {
  ScriptedServer server([](const std::string&) {
    return Plan{ScriptedServer::answer(301, "<Error><Code>PermanentRedirect</Code></Error>",
                                       "Location: http://127.0.0.1:1/elsewhere\r\n")};
  });
  auto how = options(ObjectEngine::kS3, server.port());
  how.credentials_file =
      write_secret("aws_access_key_id=a\naws_secret_access_key=b\naws_session_token=the-session-token\n");
  refused(get(*open(how), "object"), Code::kInvalid, "PermanentRedirect: the bucket is served from elsewhere", "301");
  const auto heads = server.heads();
  ASSERT_EQ(heads.size(), 1u);
  const std::size_t list = heads[0].find("SignedHeaders=");
  ASSERT_NE(list, std::string::npos);
  const std::string names = heads[0].substr(list, heads[0].find(',', list) - list);
  EXPECT_NE(names.find("x-amz-security-token"), std::string::npos) << names;
  EXPECT_NE(names.find("x-amz-content-sha256"), std::string::npos) << names;
}

TEST_F(S3StoreTest, ListsMoreThanAThousand) {
  const Bytes one = "x";
  for (int i = 0; i < 1'003; ++i) ASSERT_TRUE(put(*direct_, "many/" + std::to_string(10'000 + i), one));
  std::size_t count = 0;
  std::string from, last;
  do {
    const auto page = direct_->list("many/", from, kListMax);
    ASSERT_TRUE(page) << page.error().message;
    for (const ObjectInfo& info : page->objects) {
      EXPECT_LT(last, info.key);
      last = info.key;
      ++count;
    }
    from = page->next;
  } while (!from.empty());
  EXPECT_EQ(count, 1'003u);
}

}  // namespace
}  // namespace tidelock
