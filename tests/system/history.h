// The log that clients of a chaos run leave and that history_check judges: fixed records in a file that is mapped, so
// that a record that was written survives the kill of its process. Includes nothing of the product.
//
// Times are CLOCK_MONOTONIC in nanoseconds, which all processes of one machine share, network namespaces included. A
// write is logged before it is tried, with an open end, and completed in place: whoever dies in between leaves "outcome
// unknown".
//
// Threads: a HistoryWriter belongs to one thread. Errors: a disk that is full ends the process (exit code 3).
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace chaos {

inline constexpr std::int64_t kOpen = INT64_MAX;      // end: not known; bound: none
inline constexpr std::uint64_t kNoValue = 0;          // read: there is no such key
inline constexpr std::uint64_t kBrokenValue = ~0ull;  // read: bytes that no writer wrote
inline constexpr std::uint32_t kMagic = 0x314c4448;   // "HDL1", little endian

enum class Kind : std::uint8_t { kNone, kWrite, kRead, kDrained, kForgotten };
// What a key promises. kRegister: total order by version, no lifetime. kLifetime: as that, but its writes carry one.
// kBehind: one writer, whose sequence numbers are the order; versions are only known at times.
enum class KeyClass : std::uint8_t { kRegister, kLifetime, kBehind };
// What the answer claims. kStrong: linearizable (lease, or read at the hub with authority); kBounded: a proof;
// kLocal: an own write of this gateway; kNoClaim: only its bound.
enum class Claim : std::uint8_t { kNoClaim, kStrong, kBounded, kLocal };
enum class Outcome : std::uint8_t { kUnknown, kOk, kRefused };  // kRefused: nothing happened, for sure

struct Record {
  std::int64_t begin_ns = 0, end_ns = kOpen;
  std::uint64_t version = 0;  // 0: not known, not sequenced
  std::uint64_t value = kNoValue;
  std::int64_t bound_ns = kOpen;  // read: U
  std::int64_t lifetime_ns = 0;   // write: 0 = for ever
  std::uint64_t token = 0;        // read: a state that has applied this index was asked for
  std::uint32_t key = 0;
  std::uint16_t process = 0;  // of the client
  std::uint16_t gateway = 0;  // the edge it went through; 0: a hub
  Kind kind = Kind::kNone;
  KeyClass key_class = KeyClass::kRegister;
  Claim claim = Claim::kNoClaim;
  Outcome outcome = Outcome::kUnknown;
  bool fallback = false;    // read: flagged
  bool sequenced = false;   // write: `end` is an acknowledgement by the hubs, not only by the gateway
  bool final = false;       // read: made after everything was healed and drained
  bool in_process = false;  // read: answered from the memory of the gateway, nobody was asked
};
static_assert(sizeof(Record) == 72);

struct Header {
  std::uint32_t magic = kMagic;
  std::uint32_t record_bytes = sizeof(Record);
  std::uint64_t reserved = 0;
};

// A value names its writer: 16 bits process, 8 bits thread, 40 bits count, which also orders the writes of one writer
// whose later processes have higher numbers.
constexpr std::uint64_t value_id(std::uint16_t process, std::uint8_t thread, std::uint64_t count) {
  return std::uint64_t{process} << 48 | std::uint64_t{thread} << 40 | (count & ((1ull << 40) - 1));
}

class HistoryWriter {
 public:
  explicit HistoryWriter(const std::string& path)
      : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) {
    if (fd_ < 0) give_up(path.c_str());
    const Header header;
    if (::write(fd_, &header, sizeof header) != static_cast<ssize_t>(sizeof header)) give_up("header");
    grow();
  }
  ~HistoryWriter() {
    if (window_ != nullptr) ::munmap(window_, kWindowBytes);
    (void)::ftruncate(fd_, static_cast<off_t>(sizeof(Header) + used_ * sizeof(Record)));
    ::close(fd_);
  }
  HistoryWriter(const HistoryWriter&) = delete;
  HistoryWriter& operator=(const HistoryWriter&) = delete;

  void add(const Record& record) { finish(begin(record), record); }
  // A record in its place; valid until the next begin or add.
  Record* begin(const Record& record) {
    if ((used_ + 1) * sizeof(Record) + sizeof(Header) > static_cast<std::size_t>(window_at_) + kWindowBytes) grow();
    Record* place = reinterpret_cast<Record*>(
        window_ + (sizeof(Header) + used_ * sizeof(Record) - static_cast<std::size_t>(window_at_)));
    ++used_;
    finish(place, record);
    return place;
  }
  // The kind goes last: a record without one was cut off by a kill.
  static void finish(Record* place, Record record) {
    const Kind kind = record.kind;
    record.kind = place->kind;
    *place = record;
    std::atomic_ref<Kind>(place->kind).store(kind, std::memory_order_release);
  }
  // What became of a write: the outcome goes last, so that a kill leaves it unknown or whole.
  static void complete(Record* place, Outcome outcome, std::int64_t end_ns, std::uint64_t version, bool sequenced,
                       std::uint64_t code) {
    place->token = code;
    place->end_ns = end_ns;
    place->version = version;
    place->sequenced = sequenced;
    std::atomic_ref<Outcome>(place->outcome).store(outcome, std::memory_order_release);
  }
  std::uint64_t count() const { return used_; }

 private:
  static constexpr std::size_t kWindowBytes = 4u << 20;

  void grow() {
    if (window_ != nullptr) ::munmap(window_, kWindowBytes);
    // The window begins at a page at or before the next record, so that a record never straddles two windows.
    const std::size_t next = sizeof(Header) + used_ * sizeof(Record);
    window_at_ = static_cast<off_t>(next / 4096 * 4096);
    // Allocated, not only sized: a full disk is told here and not by a signal.
    if (::posix_fallocate(fd_, window_at_, kWindowBytes) != 0) give_up("no room for the history");
    void* window = ::mmap(nullptr, kWindowBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, window_at_);
    if (window == MAP_FAILED) give_up("mmap");
    window_ = static_cast<char*>(window);
  }
  [[noreturn]] static void give_up(const char* what) {
    std::perror(what);
    std::_Exit(3);
  }

  int fd_;
  char* window_ = nullptr;
  off_t window_at_ = 0;
  std::size_t used_ = 0;
};

}  // namespace chaos
