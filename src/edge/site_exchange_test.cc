// A gateway's part that serves its neighbours: whom it admits, and what becomes of a fetch whose file goes bad. How a
// gateway asks others is in model_fetch_test.cc.
#include "edge/site_exchange.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "base/noise_fixture.h"
#include "codec/archive.h"
#include "codec/signature.h"
#include "store/models/test_folder.h"
#include "wire/grpc/transport_fixture.h"

namespace tidelock {
namespace {

class SetClock : public Clock {
 public:
  Nanos now() const override { return now_; }
  void add(Nanos span) { now_ += span; }

 private:
  std::atomic<Nanos> now_{1'000 * kSecond};
};

class SiteExchangeTest : public testing::Test {
 protected:
  void SetUp() override {
    config_.id = "edge-1";
    config_.tls = ca_.files(NodeRole::kEdge, "edge-1");
    config_.site_neighbours = true;
    config_.site_listen = "127.0.0.1:0";
    blobs_ = BlobStore::open(folder_.path()).value();
    auto site = SiteExchange::open(config_, clock_, *blobs_, [this] { ++woken_; });
    ASSERT_TRUE(site) << site.error().message;
    site_ = std::move(*site);
    site_->on_session();
    hear({"edge-1", "edge-2"});
    ASSERT_FALSE(address_.empty());
  }
  // The hub names the members of the site.
  void hear(const std::vector<NodeId>& members) {
    site_->on_session();
    site_->tend([&](const SiteCall& call) -> Result<AdminAnswer> {
      address_ = call.address;
      SiteView view;
      for (const NodeId& id : members) view.members.push_back({id, "", {}});
      AdminAnswer answer;
      answer.value = encode(view);
      return answer;
    });
  }
  std::unique_ptr<NodeClient> client(const NodeId& id) {
    NodeClientOptions options;
    options.address = address_;
    options.tls = ca_.files(NodeRole::kEdge, id);
    options.expected_hub = "edge-1";
    options.role = NodeRole::kEdge;
    return NodeClient::make(options).value();
  }

  const TestFolder folder_;
  Authority ca_{"test"};
  SetClock clock_;
  EdgeConfig config_;
  std::unique_ptr<BlobStore> blobs_;
  std::atomic<int> woken_{0};
  std::string address_;
  std::unique_ptr<SiteExchange> site_;
};

TEST_F(SiteExchangeTest, AListThatGrowsOldIsAskedForAndThenServesNobody) {  // X1, M3
  const auto friendly = client("edge-2"), stranger = client("edge-3");
  struct Case {
    const char* why;
    NodeClient& who;
    Nanos later;  // than the case before
    bool served, wakes;
  };
  const Case cases[] = {
      {"a member, by a fresh list", *friendly, 0, true, false},
      {"a member, just before it is old", *friendly, 30 * kSecond - 1, true, false},
      {"a member, by an old one: served, and the hub is asked", *friendly, 1, true, true},
      {"again: it is being asked already", *friendly, kSecond, true, false},
      {"a member, just before it is of no worth", *friendly, 269 * kSecond - 1, true, false},
      {"nobody is served by it any more", *friendly, 1, false, false},
      {"nor a stranger", *stranger, 0, false, false},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.why);
    clock_.add(c.later);
    const int before = woken_;
    const auto told = c.who.call(encode(SiteAsk{sha256("any")}), 10'000);
    EXPECT_EQ(told.has_value(), c.served);
    if (!told) {
      EXPECT_EQ(told.error().code, Code::kBusy) << told.error().message;
    }
    EXPECT_EQ(woken_ - before, c.wakes ? 1 : 0);
  }
  hear({"edge-1", "edge-2", "edge-3"});
  for (NodeClient* who : {friendly.get(), stranger.get()})
    EXPECT_TRUE(who->call(encode(SiteAsk{sha256("any")}), 10'000)) << "by the next list";
  hear({"edge-1", "edge-3"});
  EXPECT_FALSE(friendly->call(encode(SiteAsk{sha256("any")}), 10'000)) << "removed from the site";
}

// What is served is read, not mapped: a file that is cut short meanwhile is an error, and no signal.
TEST_F(SiteExchangeTest, AFileThatIsCutShortUnderAFetchEndsItAndNamesTheFile) {  // M3, X3
  const Bytes bytes = noise(7, 300'000), digest = blobs_->put(bytes).value();
  const std::string path = blobs_->path(digest).value();
  constexpr std::uint32_t kPiece = 100'000;
  std::uint64_t came = 0;
  bool head = false;
  const auto end = client("edge-2")->fetch(encode(FetchRequest{FetchBlob{digest}, {0, kPiece, kPiece}}),
                                           [&](std::optional<Bytes> frame) -> Result<FetchTurn> {
                                             FetchTurn turn;
                                             turn.wake_ms = 10'000;
                                             if (!frame) return turn;
                                             if (!std::exchange(head, true)) return turn;
                                             EXPECT_EQ(*frame, bytes.substr(came, kPiece));
                                             came += frame->size();
                                             std::filesystem::resize_file(path, 150'000);
                                             turn.say = encode(FetchMore{0, bytes.size(), kPiece});
                                             return turn;
                                           });
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, Code::kUnavailable) << end.error().message;
  EXPECT_NE(end.error().message.find(path + ": it ends at byte 150000 of 300000"), std::string::npos)
      << end.error().message;
  EXPECT_EQ(came, kPiece);
}

}  // namespace
}  // namespace tidelock
