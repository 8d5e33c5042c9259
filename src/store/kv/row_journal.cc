#include "store/kv/row_journal.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/assert.h"

namespace tidelock {
namespace {

constexpr std::uint64_t kMagic = 0x314C4E4A574F5254ull;  // "TROWJNL1" as bytes
constexpr std::uint32_t kErases = ~std::uint32_t{0};     // in place of a row's size

constexpr std::size_t kPlaceBytes = 8;
static_assert(RowJournal::kHalfBytesMax / kPlaceBytes < ~std::uint32_t{0});

constexpr std::size_t padded(std::size_t bytes) { return (bytes + kPlaceBytes - 1) / kPlaceBytes * kPlaceBytes; }

// A kill finds what is written before this, or not what is written behind it: the processor keeps the order of one
// thread's stores for that thread, and so for the file, if the compiler does.
void then() { std::atomic_signal_fence(std::memory_order_seq_cst); }

tl::unexpected<Error> refuse(const std::string& path, const char* doing, int error, Code code = Code::kUnavailable) {
  return fail(code, path + ": " + doing + ": " + std::strerror(error));
}

// A file of this size takes the name only when it has its room: a full disk is an error here, and not a SIGBUS later.
Result<void> make_file(const std::string& path, std::size_t bytes) {
  const std::string fresh = path + ".new";
  const int fd = ::open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return refuse(path, "create", errno, errno == ENOSPC ? Code::kBusy : Code::kUnavailable);
  int error = 0;
  do error = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  while (error == EINTR);
  ::close(fd);
  if (error == 0 && ::rename(fresh.c_str(), path.c_str()) == 0) return {};
  const int why = error != 0 ? error : errno;
  ::unlink(fresh.c_str());
  return refuse(path, "reserve room", why, error != 0 ? Code::kBusy : Code::kUnavailable);
}

}  // namespace

struct RowJournal::Half {
  std::uint64_t magic;
  std::uint64_t half_bytes;
  std::uint64_t generation;  // 0: empty
  std::uint64_t end;         // how far the records were sealed
  std::uint64_t salt;
  std::uint64_t reserved[3];
};

struct RowJournal::Record {
  std::uint64_t check;
  std::uint64_t generation;
  std::uint32_t key_bytes, row_bytes;

  std::size_t size() const { return padded(sizeof(Record) + key_bytes + (row_bytes == kErases ? 0 : row_bytes)); }
  const char* key() const { return reinterpret_cast<const char*>(this + 1); }
  BytesView name() const { return {key(), key_bytes}; }
  std::optional<BytesView> row() const {
    return row_bytes == kErases ? std::nullopt : std::optional(BytesView(key() + key_bytes, row_bytes));
  }
  std::uint64_t sum(std::uint64_t salt) const {
    return hash64({reinterpret_cast<const char*>(&generation), size() - sizeof check}) ^ salt;
  }
};

Result<std::unique_ptr<RowJournal>> RowJournal::open(const std::string& path, std::size_t half_bytes) {
  static_assert(sizeof(Half) == 64 && sizeof(Record) == 24);
  if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) {
    const std::size_t bytes = 2 * std::clamp(padded(half_bytes), kHalfBytesMin, kHalfBytesMax);
    if (auto made = make_file(path, bytes); !made) return fail(made.error());
  }
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return refuse(path, "open", errno);
  std::unique_ptr<RowJournal> journal(new RowJournal);
  const auto mapped = [&]() -> Result<void> {
    struct stat info{};
    if (::fstat(fd, &info) != 0) return refuse(path, "stat", errno);
    const auto bytes = static_cast<std::size_t>(info.st_size);
    if (bytes < 2 * kHalfBytesMin || bytes > 2 * kHalfBytesMax || bytes % 16 != 0) {
      return fail(Code::kCorrupt, path + ": " + std::to_string(bytes) + " bytes: not a journal of rows");
    }
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return refuse(path, "map", errno);
    journal->memory_ = static_cast<char*>(memory);
    journal->size_bytes_ = bytes;
    journal->half_bytes_ = bytes / 2;
    for (int number : {0, 1}) {
      const Half& half = journal->half(number);
      const bool not_begun = half.magic == 0 && half.generation == 0 && half.end == 0;
      if (!not_begun && (half.magic != kMagic || half.half_bytes != bytes / 2)) {
        return fail(Code::kCorrupt, path + ": not a journal of rows");
      }
    }
    return {};
  }();
  ::close(fd);
  if (!mapped) return fail(mapped.error());
  return journal;
}

RowJournal::~RowJournal() {
  if (memory_ != nullptr) ::munmap(memory_, size_bytes_);
}

RowJournal::Half& RowJournal::half(int number) const {
  return *reinterpret_cast<Half*>(memory_ + static_cast<std::size_t>(number) * half_bytes_);
}
char* RowJournal::data(int number) const { return reinterpret_cast<char*>(&half(number) + 1); }
const RowJournal::Record& RowJournal::record(int number, std::size_t at) const {
  return *reinterpret_cast<const Record*>(data(number) + at);
}
std::optional<std::uint32_t> RowJournal::last_of(int number, BytesView key, std::uint64_t hash) const {
  return last_[number].find(hash,
                            [&](std::uint32_t place) { return record(number, place * kPlaceBytes).name() == key; });
}
std::size_t RowJournal::half_room_bytes() const { return half_bytes_ - sizeof(Half); }

std::uint64_t RowJournal::newest_generation() const { return std::max(half(0).generation, half(1).generation); }

RowJournal::Replayed RowJournal::replay(
    std::uint64_t drained, const std::function<void(BytesView key, std::optional<BytesView> row)>& visit) const {
  Replayed replayed;
  const int older = half(0).generation <= half(1).generation ? 0 : 1;
  for (const int number : {older, 1 - older}) {
    const Half& one = half(number);
    if (one.generation == 0) replayed.whole = replayed.whole && one.end == 0;
    if (one.generation == 0 || one.generation <= drained) continue;
    const std::size_t room = half_room_bytes();
    std::size_t at = 0;
    while (at < one.end && at + sizeof(Record) <= room) {
      const auto* record = reinterpret_cast<const Record*>(data(number) + at);
      const std::uint64_t bytes =
          std::uint64_t{record->key_bytes} + (record->row_bytes == kErases ? 0 : record->row_bytes);
      if (record->generation != one.generation || bytes > room - at - sizeof(Record) || record->size() > room - at ||
          record->check != record->sum(one.salt)) {
        break;
      }
      visit(record->name(), record->row());
      ++replayed.rows;
      at += record->size();
    }
    if (at == one.end) continue;
    replayed.whole = false;  // and what came later would stand without what came before
    break;
  }
  return replayed;
}

void RowJournal::begin(std::uint64_t generation, std::uint64_t salt) {
  TIDELOCK_ASSERT(generation > newest_generation());
  for (int number : {0, 1}) {  // cut off anywhere, this leaves a sound, empty half
    Half& one = half(number);
    one.end = 0;
    then();
    one.generation = 0;
    then();
    one.salt = salt;
    one.half_bytes = half_bytes_;
    then();
    one.magic = kMagic;
    then();
    last_[number].clear();
  }
  filling_ = 0;
  filled_ = 0;
  generation_ = generation;
  half(0).generation = generation;
}

std::size_t RowJournal::bytes_of(BytesView key, std::optional<BytesView> row, BytesView rest) {
  return padded(sizeof(Record) + key.size() + (row ? row->size() + rest.size() : 0));
}

void RowJournal::append(BytesView key, std::optional<BytesView> row, BytesView rest) {
  TIDELOCK_ASSERT(bytes_of(key, row, rest) <= room_bytes());
  const std::size_t row_bytes = row ? row->size() + rest.size() : 0;
  auto* record = reinterpret_cast<Record*>(data(filling_) + filled_);
  record->generation = generation_;
  record->key_bytes = static_cast<std::uint32_t>(key.size());
  record->row_bytes = row ? static_cast<std::uint32_t>(row_bytes) : kErases;
  char* to = reinterpret_cast<char*>(record + 1);
  std::memcpy(to, key.data(), key.size());
  if (row && !row->empty()) std::memcpy(to + key.size(), row->data(), row->size());
  if (row && !rest.empty()) std::memcpy(to + key.size() + row->size(), rest.data(), rest.size());
  const std::size_t used = sizeof(Record) + key.size() + row_bytes;
  std::memset(reinterpret_cast<char*>(record) + used, 0, record->size() - used);
  record->check = record->sum(half(filling_).salt);
  last_[filling_].put(hash64(key), static_cast<std::uint32_t>(filled_ / kPlaceBytes),
                      [&](std::uint32_t place) { return this->record(filling_, place * kPlaceBytes).name() == key; });
  filled_ += record->size();
}

std::optional<std::optional<BytesView>> RowJournal::find(BytesView key) const {
  if (keys_filling() + keys_draining() == 0) return std::nullopt;
  const std::uint64_t hash = hash64(key);
  for (const int number : {filling_, 1 - filling_}) {  // the newer first
    if (const auto place = last_of(number, key, hash)) return record(number, *place * kPlaceBytes).row();
  }
  return std::nullopt;
}

std::optional<std::size_t> RowJournal::drain(
    std::size_t from, std::size_t rows_max,
    const std::function<void(BytesView key, std::optional<BytesView> row)>& visit) const {
  const int number = 1 - filling_;
  for (std::size_t at = from; at < half(number).end;) {
    if (rows_max == 0) return at;
    const Record& one = record(number, at);
    if (last_of(number, one.name(), hash64(one.name())) == at / kPlaceBytes) {
      visit(one.name(), one.row());
      --rows_max;
    }
    at += one.size();
  }
  return std::nullopt;
}

void RowJournal::seal() {
  then();
  half(filling_).end = filled_;
}

void RowJournal::turn() {
  const int other = 1 - filling_;
  TIDELOCK_ASSERT(half(other).generation == 0 && half(filling_).end == filled_);
  half(other).generation = ++generation_;
  filling_ = other;
  filled_ = 0;
}

void RowJournal::drained() {
  Half& one = half(1 - filling_);
  last_[1 - filling_].clear();
  one.end = 0;  // of this generation there is nothing that its owner has not
  then();
  one.generation = 0;
}

}  // namespace tidelock
