// Who waits for what a hub has to bring first, and for how many there is room.
#include "hub/slow_fetches.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <vector>

#include "wire/grpc/transport_fixture.h"

namespace tidelock {
namespace {

FetchRequest want(const Bytes& what) { return {FetchBlob{what}, {0, 0, 4'096}}; }

// Links of gateways that break and come back must not shut the others out for as long as a file takes to come.
TEST(SlowFetches, WhoGaveUpTakesNoPlaceOfAnother) {  // M3
  std::promise<void> let_go;
  const std::shared_future<void> gone = let_go.get_future().share();
  Watched heard;
  int told = 0, brought = 0;
  SlowFetches slow({[](const FetchRequest& request, SlowFetches::Key& missing) -> Result<std::unique_ptr<FetchSource>> {
                      missing = {{}, std::get<FetchBlob>(request.what).sha256};
                      return std::unique_ptr<FetchSource>();
                    },
                    [&](const SlowFetches::Key&) -> Result<void> {
                      heard.change([&] { ++brought; });
                      (void)gone.wait_for(kHang);
                      return fail(Code::kNotFound, "nobody has it");
                    }});
  const auto more = [&] { heard.change([&] { ++told; }); };
  std::vector<std::unique_ptr<FetchSource>> fetches;
  for (std::size_t i = 0; i < SlowFetches::kWaitingMax; ++i) {
    auto fetch = slow.fetch(want(i % 2 == 0 ? "one" : "two"), more);
    ASSERT_TRUE(fetch) << i << ": " << fetch.error().message;
    fetches.push_back(std::move(*fetch));
  }
  EXPECT_EQ(slow.fetch(want("one"), more).error().code, Code::kBusy) << "all of them wait";
  ASSERT_TRUE(heard.wait([&] { return brought == 2; }));
  std::unique_ptr<FetchSource> stays = std::move(fetches.back());  // of "two"
  fetches.clear();
  for (const char* what : {"one", "three"}) {
    auto fetch = slow.fetch(want(what), more);
    ASSERT_TRUE(fetch) << what << ": " << fetch.error().message;
    fetches.push_back(std::move(*fetch));
  }
  let_go.set_value();
  ASSERT_TRUE(heard.wait([&] { return told == 3; }));
  EXPECT_EQ(brought, 3) << "each once";
  for (auto* fetch : {&stays, &fetches[0], &fetches[1]}) {
    const auto frame = (*fetch)->next();
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code, Code::kNotFound);
  }
}

}  // namespace
}  // namespace tidelock
