#include "hub/slow_fetches.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>

namespace tidelock {
namespace {

constexpr Nanos kAgainAfter = 5 * kSecond;
constexpr std::size_t kSaidMax = 64;
constexpr int kRoundsMax = 4;  // what was brought may be gone again when it is opened, but not for ever

}  // namespace

struct SlowFetches::Opening {  // shared by a fetch and whoever brings what it waits for
  std::mutex mutex;
  std::optional<Result<std::unique_ptr<FetchSource>>> done;
  bool given_up = false;  // nobody waits for it any more
};

class SlowFetches::Source : public FetchSource {
 public:
  explicit Source(std::shared_ptr<Opening> opening) : opening_(std::move(opening)) {}
  ~Source() override {
    const std::lock_guard lock(opening_->mutex);
    opening_->given_up = true;
  }
  Result<void> take(Bytes said) override {
    if (source_) return source_->take(std::move(said));
    if (said_.size() >= kSaidMax) return fail(Code::kInvalid, "more was asked for before there was anything to send");
    said_.push_back(std::move(said));
    return {};
  }
  Result<std::optional<Bytes>> next() override {
    if (!source_) {
      {
        const std::lock_guard lock(opening_->mutex);
        if (!opening_->done) return std::optional<Bytes>{};
        if (!*opening_->done) return fail(opening_->done->error());
        source_ = std::move(**opening_->done);
      }
      for (Bytes& said : said_) {
        if (const auto ok = source_->take(std::move(said)); !ok) return fail(ok.error());
      }
    }
    return source_->next();
  }

 private:
  const std::shared_ptr<Opening> opening_;
  std::unique_ptr<FetchSource> source_;
  std::vector<Bytes> said_;
};

Result<std::unique_ptr<FetchSource>> SlowFetches::fetch(FetchRequest request, std::function<void()> more) {
  Key missing;
  auto source = hub_.open(request, missing);
  if (!source || *source) return source;
  auto opening = std::make_shared<Opening>();
  const auto waits = wait_for(missing, {std::move(request), std::move(more), opening});
  if (!waits) return fail(waits.error());
  return std::unique_ptr<FetchSource>(std::make_unique<Source>(std::move(opening)));
}

bool SlowFetches::given_up(const Waiter& one) {
  const std::lock_guard lock(one.opening->mutex);
  return one.opening->given_up;
}

// Those that nobody waits for any more. Their entries stay: a task of the pool looks for them.
std::vector<SlowFetches::Waiter> SlowFetches::take_given_up() {
  std::vector<Waiter> gone;
  for (auto& [key, all] : waiting_) {
    const auto from = std::stable_partition(all.begin(), all.end(), [](const Waiter& one) { return !given_up(one); });
    gone.insert(gone.end(), std::make_move_iterator(from), std::make_move_iterator(all.end()));
    all.erase(from, all.end());
  }
  waiters_ -= gone.size();
  return gone;
}

Result<void> SlowFetches::wait_for(const Key& missing, Waiter waiter) {
  std::vector<Waiter> gone;  // dropped without the lock: what `more` holds may take others
  const std::lock_guard lock(mutex_);
  if (stopping_) return fail(Code::kUnavailable, "this hub stops");
  if (waiters_ >= kWaitingMax) gone = take_given_up();
  if (waiters_ >= kWaitingMax) {
    return fail(Error{
        Code::kBusy, std::to_string(kWaitingMax) + " fetches wait for what this hub brings or makes", {}, kAgainAfter});
  }
  ++waiters_;
  const auto [entry, fresh] = waiting_.try_emplace(missing);
  entry->second.push_back(std::move(waiter));
  if (fresh) pool_.post([this, missing] { run(missing); });
  return {};
}

void SlowFetches::run(const Key& missing) {
  std::vector<Waiter> all;  // dropped without a lock: what `more` holds may take others
  bool wanted = false;
  {
    const std::lock_guard lock(mutex_);
    const auto it = waiting_.find(missing);
    wanted = !std::all_of(it->second.begin(), it->second.end(), given_up);
    if (!wanted) {
      all.swap(it->second);
      waiters_ -= all.size();
      waiting_.erase(it);
    }
  }
  if (!wanted) return;
  const Result<void> brought =
      stopping_ ? Result<void>(fail(Code::kUnavailable, "this hub stops")) : hub_.bring(missing);
  {
    const std::lock_guard lock(mutex_);
    const auto it = waiting_.find(missing);  // with those that came meanwhile
    all.swap(it->second);
    waiters_ -= all.size();
    waiting_.erase(it);
  }
  for (Waiter& one : all) {
    if (brought) {
      go_on(std::move(one));
      continue;
    }
    {
      const std::lock_guard lock(one.opening->mutex);
      one.opening->done = fail(brought.error());
    }
    one.more();
  }
}

void SlowFetches::go_on(Waiter waiter) {
  Key missing;
  auto source = hub_.open(waiter.request, missing);
  const auto opening = waiter.opening;
  const auto more = waiter.more;
  if (source && !*source) {  // a file was missing, and now the delta to it is
    auto waits = ++waiter.rounds < kRoundsMax
                     ? wait_for(missing, std::move(waiter))
                     : Result<void>(fail(Code::kUnavailable, "what was brought is gone again; repeat later"));
    if (waits) return;
    source = fail(waits.error());
  }
  {
    const std::lock_guard lock(opening->mutex);
    opening->done = std::move(source);
  }
  more();
}

void SlowFetches::stop() {
  {
    const std::lock_guard lock(mutex_);  // behind it nothing is posted any more
    stopping_ = true;
  }
  pool_.stop();  // runs what is queued, which ends at once
}

}  // namespace tidelock
