#include "tests/stores/power_cut.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>

namespace tidelock::stores {

namespace fs = std::filesystem;

namespace {

struct File {
  Bytes bytes;
  std::size_t synced = 0;
  std::vector<std::size_t> writes;  // where each write since the last sync begins
};
using Names = std::map<std::string, std::shared_ptr<File>>;

// A change of a folder that its next sync makes durable.
struct Change {
  std::string name;  // appears, or goes when `file` is null
  std::shared_ptr<File> file;
  std::string gone;  // a rename: the name that goes in the same instant
};

void carry_out(const Change& change, Names& names) {
  if (change.file)
    names[change.name] = change.file;
  else
    names.erase(change.name);
  if (!change.gone.empty()) names.erase(change.gone);
}

Bytes what_is_left(const File& file, Rng& rng) {
  const std::size_t unsynced = file.bytes.size() - file.synced;
  if (unsynced == 0) return file.bytes;
  switch (rng.below(4)) {
    case 0: return file.bytes.substr(0, file.synced);
    case 1: return file.bytes;
    case 2: return file.bytes.substr(0, file.synced + rng.below(unsynced + 1));
    default: break;
  }
  Bytes left = file.bytes;
  std::size_t end = file.synced;
  for (std::size_t i = 0; i < file.writes.size(); ++i) {
    const std::size_t begin = file.writes[i];
    const std::size_t after = i + 1 < file.writes.size() ? file.writes[i + 1] : file.bytes.size();
    if (rng.one_in(2))
      end = after;
    else
      std::fill(left.begin() + static_cast<std::ptrdiff_t>(begin), left.begin() + static_cast<std::ptrdiff_t>(after),
                '\0');
  }
  left.resize(end);
  if (end > file.synced && rng.one_in(2)) {
    const std::size_t sector = std::max(file.synced, (end - 1) / kSectorBytes * kSectorBytes);
    const std::size_t torn = sector + rng.below(end - sector);
    std::fill(left.begin() + static_cast<std::ptrdiff_t>(torn), left.end(), '\0');
  }
  return left;
}

}  // namespace

Vouched cut_power(const std::vector<DiskOp>& story, std::size_t length, const std::string& from, const std::string& to,
                  Rng& rng) {
  Names now, durable;
  std::map<std::string, std::vector<Change>> unsure;  // by folder
  Vouched vouched;
  const auto change = [&](Change what) {
    carry_out(what, now);
    unsure[fs::path(what.name).parent_path().string()].push_back(std::move(what));
  };
  for (std::size_t i = 0; i < length; ++i) {
    const DiskOp& op = story[i];
    switch (op.kind) {
      case DiskOp::kCreate: change({op.path, std::make_shared<File>(), {}}); break;
      case DiskOp::kRemove: change({op.path, nullptr, {}}); break;
      case DiskOp::kRename: change({op.other, now[op.path], op.path}); break;
      case DiskOp::kLink: change({op.other, now[op.path], {}}); break;
      case DiskOp::kAppend:
        now[op.path]->writes.push_back(now[op.path]->bytes.size());
        now[op.path]->bytes += op.data;
        break;
      case DiskOp::kTruncate:
        now[op.path]->bytes.resize(op.number);
        now[op.path]->synced = std::min<std::size_t>(now[op.path]->synced, op.number);
        break;
      case DiskOp::kSync:
        if (const auto it = now.find(op.path); it != now.end()) {  // else: removed while open
          it->second->synced = it->second->bytes.size();
          it->second->writes.clear();
          auto& changes = unsure[fs::path(op.path).parent_path().string()];
          for (const Change& one : changes)
            if (one.file == it->second) carry_out(one, durable);
          std::erase_if(changes, [&](const Change& one) { return one.file == it->second; });
        }
        break;
      case DiskOp::kSyncFolder:
        for (const Change& one : unsure[op.path]) carry_out(one, durable);
        unsure.erase(op.path);
        break;
      case DiskOp::kIssued: vouched.issued = op.number; break;
      case DiskOp::kDurable: vouched.durable = op.number; break;
    }
  }
  const bool some = rng.one_in(2);  // half of the cuts lose all that is unsure of the folders, or nothing
  const bool all = rng.one_in(2);
  for (const auto& [folder, changes] : unsure) {
    for (const Change& one : changes) {
      if (some ? rng.one_in(2) : all) carry_out(one, durable);
    }
  }
  fs::remove_all(to);
  fs::create_directories(to);
  for (const auto& [path, file] : durable) {
    const fs::path target = fs::path(to) / fs::path(path).lexically_relative(from);
    fs::create_directories(target.parent_path());
    const Bytes left = what_is_left(*file, rng);
    std::ofstream(target, std::ios::binary).write(left.data(), static_cast<std::streamsize>(left.size()));
  }
  return vouched;
}

}  // namespace tidelock::stores
