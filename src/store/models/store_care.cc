#include "store/models/store_care.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "codec/signature.h"

namespace tidelock {
namespace {

constexpr std::size_t kRowsMax = 5'000;  // of an answer; what is broken comes first

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
    out += plain ? c : '?';  // names, versions and paths are plain; messages may name a folder that is not
  }
  return out + "\"";
}
std::string field(std::string_view name, std::string_view text) { return quoted(name) + ":" + quoted(text); }
std::string field(std::string_view name, std::uint64_t number) { return quoted(name) + ":" + std::to_string(number); }

// What is broken first, what is well last.
int rank(FileState state) {
  if (state == FileState::kOk) return 2;
  return state == FileState::kMissing || state == FileState::kCorrupt || state == FileState::kUnread ? 0 : 1;
}
std::string row(const CheckedFile& file) {
  std::string out = "{" + field("state", file_state_name(file.state)) + "," + field("sha256", to_hex(file.sha256)) +
                    "," + field("bytes", file.bytes);
  if (!file.model.empty())
    out += "," + field("model", file.model) + "," + field("version", file.version) + "," + field("path", file.path);
  if (!file.why.empty()) out += "," + field("why", file.why);
  return out + "}";
}
std::string row(const Garbage& one) {
  static constexpr std::string_view kKinds[] = {"unreferenced", "partial", "quarantined"};
  return "{" + field("state", kKinds[static_cast<std::size_t>(one.kind)]) + "," + field("sha256", to_hex(one.sha256)) +
         "," + field("bytes", one.bytes) + "}";
}
template <class List>
std::string rows(const List& list) {
  std::string out = "[";
  for (std::size_t i = 0; i < std::min(list.size(), kRowsMax); ++i) out += (i == 0 ? "" : ",") + row(list[i]);
  return out + "]";
}

}  // namespace

std::string_view store_work_name(StoreWork work) {
  static constexpr std::string_view kNames[] = {"verify", "repair", "gc", "gc", "import"};
  return kNames[static_cast<std::size_t>(work)];
}

Result<void> StoreCare::start(StoreWork work, bool dry_run, std::string bundle) {
  if ((work == StoreWork::kImport && !owner_.import) ||
      (work == StoreWork::kCollectImported && !owner_.collect_imported))
    return fail(Code::kInvalid, "this store takes no bundles");
  const std::lock_guard lock(mutex_);
  if (stopping_) return fail(Code::kUnavailable, "this node is stopping");
  if (state_ && state_->running) {
    return fail(Code::kBusy, "a " + std::string(store_work_name(state_->work)) +
                                 " of this store is under way; repeat when it is done");
  }
  if (thread_.joinable()) thread_.join();  // it has said its last word
  state_.emplace();
  state_->work = work;
  state_->dry_run = dry_run;
  thread_ = std::thread([this, work, dry_run, bundle = std::move(bundle)] { run(work, dry_run, bundle); });
  return {};
}

void StoreCare::stop() {
  stopping_ = true;
  std::thread ending;
  {
    const std::lock_guard lock(mutex_);
    ending = std::move(thread_);
  }
  if (ending.joinable()) ending.join();
}

void StoreCare::run(StoreWork work, bool dry_run, const std::string& bundle) {
  std::optional<Error> error;
  if (work == StoreWork::kImport) {
    auto imported =
        owner_.import(bundle, [this](const std::string& doing, std::uint64_t done_bytes, std::uint64_t total_bytes) {
          const std::lock_guard lock(mutex_);
          state_->doing = doing;
          state_->done_bytes = done_bytes;
          state_->total_bytes = total_bytes;
          return !stopping_;
        });
    const std::lock_guard lock(mutex_);
    if (imported) state_->imported = std::move(*imported);
    if (!imported) error = imported.error();
  } else if (work == StoreWork::kCollect || work == StoreWork::kCollectImported) {
    auto garbage = work == StoreWork::kCollect ? owner_.collect(!dry_run) : owner_.collect_imported(!dry_run);
    const std::lock_guard lock(mutex_);
    if (garbage) state_->garbage = std::move(*garbage);
    if (!garbage) error = garbage.error();
  } else {
    auto report = check();
    if (!report) {
      error = report.error();
    } else if (work == StoreWork::kRepair && !dry_run) {
      repair(std::move(*report));
    } else {
      const std::lock_guard lock(mutex_);
      state_->report = std::move(*report);
    }
  }
  const std::lock_guard lock(mutex_);
  state_->error = std::move(error);
  state_->running = false;
  ended_.notify_all();
}

bool StoreCare::wait(int timeout_ms) const {
  std::unique_lock lock(mutex_);
  return ended_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [this] { return !state_ || !state_->running; });
}

Result<StoreReport> StoreCare::check() {
  const auto releases = owner_.releases();
  if (!releases) return fail(releases.error());
  return check_store(blobs_, *releases, {owner_.missing_is_fine, [this](std::uint64_t done, std::uint64_t total) {
                                           const std::lock_guard lock(mutex_);
                                           state_->done_bytes = done;
                                           state_->total_bytes = total;
                                           return !stopping_;
                                         }});
}

// What was broken is read again afterwards: a repair that only says so is none.
void StoreCare::repair(StoreReport report) {
  const std::vector<CheckedFile> broken = report.broken();
  {
    const std::lock_guard lock(mutex_);
    if (!broken.empty()) state_->doing = "fetching " + std::to_string(broken.size()) + " files anew";
  }
  const std::vector<std::string> why =
      broken.empty() || stopping_ ? std::vector<std::string>(broken.size()) : owner_.mend(broken);
  StoreReport after;
  after.releases = report.releases;
  std::size_t repaired = 0;
  for (CheckedFile& file : report.files) {
    const auto it = std::find_if(broken.begin(), broken.end(), [&](const CheckedFile& one) {
      return one.sha256 == file.sha256 &&
             (!file.sha256.empty() || (one.model == file.model && one.version == file.version));
    });
    if (it != broken.end()) {
      if (file.model.empty()) continue;  // damaged and of no release: it is set aside, and nobody misses it
      const auto at = static_cast<std::size_t>(it - broken.begin());
      const std::string said = at < why.size() ? why[at] : std::string();
      if (file.sha256.empty() ? said.empty() : blobs_.examine(file.sha256).has_value()) {
        file.state = FileState::kOk;
        file.why = "repaired";
        ++repaired;
      } else {
        if (!file.sha256.empty() && !blobs_.has(file.sha256)) file.state = FileState::kMissing;
        if (!said.empty()) file.why = said;
      }
    }
    if (file.state != FileState::kQuarantined) after.add(std::move(file));
  }
  for (const Garbage& one : blobs_.quarantined()) {
    after.add({FileState::kQuarantined, one.sha256, one.bytes, {}, {}, {}, {}});
  }
  const std::lock_guard lock(mutex_);
  state_->report = std::move(after);
  state_->repaired = repaired;
}

std::string StoreCare::json() const {
  const std::lock_guard lock(mutex_);
  if (!state_) return "{}";
  const StoreCareState& state = *state_;
  std::string out = "{" + field("work", store_work_name(state.work)) +
                    ",\"dry_run\":" + (state.dry_run ? "true" : "false") +
                    ",\"running\":" + (state.running ? "true" : "false") + "," + field("doing", state.doing) + "," +
                    field("done_bytes", state.done_bytes) + "," + field("total_bytes", state.total_bytes);
  if (state.error)
    out += ",\"error\":{" + field("code", code_name(state.error->code)) + "," + field("message", state.error->message) +
           "}";
  if (state.report) {
    const StoreReport& report = *state.report;
    out += "," + field("releases", report.releases) + "," + field("repaired", state.repaired) +
           ",\"sound\":" + (report.sound() ? "true" : "false");
    for (std::size_t i = 0; i < kFileStates; ++i)
      out += "," + field(file_state_name(static_cast<FileState>(i)), report.counts[i]);
    std::vector<std::pair<int, std::size_t>> order;  // the worst first, else as they were
    order.reserve(report.files.size());
    for (const CheckedFile& file : report.files) order.emplace_back(rank(file.state), order.size());
    std::sort(order.begin(), order.end());
    std::vector<CheckedFile> files;
    files.reserve(order.size());
    for (const auto& [how_bad, at] : order) files.push_back(report.files[at]);
    out += "," + field("left_off", files.size() - std::min(files.size(), kRowsMax)) + ",\"files\":" + rows(files);
  }
  if (state.imported) {
    const ImportedBundle& one = *state.imported;
    out += ",\"imported\":{" + field("model", one.model) + "," + field("version", one.version) + "," +
           field("files", one.files) + "," + field("bytes", one.bytes) + "," + field("new_bytes", one.new_bytes) +
           ",\"named\":" + (one.named ? "true" : "false") + ",\"verified\":" + (one.verified ? "true" : "false") + "}";
  }
  const bool collected = state.work == StoreWork::kCollect || state.work == StoreWork::kCollectImported;
  if (collected && !state.running && !state.error) {
    std::uint64_t bytes = 0;
    for (const Garbage& one : state.garbage) bytes += one.bytes;
    out += "," + field("garbage", state.garbage.size()) + "," + field("garbage_bytes", bytes) +
           ",\"files\":" + rows(state.garbage);
  }
  return out + "}";
}

}  // namespace tidelock
