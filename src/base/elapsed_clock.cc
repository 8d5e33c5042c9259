// How H is read. RAW is not slewed but stops in suspend; BOOTTIME - MONOTONIC is constant but for suspends. The three
// cannot be read at one instant, so the difference is bracketed by two MONOTONIC reads and taken again when the thread
// was held up between them. As the difference is constant, a measured value is kept until it moves by more than any
// hold-up explains: so H never goes back by the width of a bracket.
#include "base/elapsed_clock.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "base/wall_clock.h"

namespace tidelock {
namespace {

Nanos read_clock(clockid_t id) {
  timespec t{};
  ::clock_gettime(id, &t);  // cannot fail for these clocks since Linux 2.6.39
  return static_cast<Nanos>(t.tv_sec) * kSecond + t.tv_nsec;
}

constexpr int kTries = 8;
constexpr Nanos kBracketGood = 2 * kMicrosecond;

// All clocks at about one instant: `boottime` was read between the two ends of each interval.
struct Pair {
  Nanos boottime = 0;
  Nanos raw_low = 0, raw_high = 0;
  Nanos asleep_low = 0, asleep_high = 0;  // BOOTTIME - MONOTONIC
};

Pair read_pair() {
  Pair best;
  for (int i = 0; i < kTries; ++i) {
    Pair p;
    const Nanos mono_before = read_clock(CLOCK_MONOTONIC);
    p.raw_low = read_clock(CLOCK_MONOTONIC_RAW);
    p.boottime = read_clock(CLOCK_BOOTTIME);
    p.raw_high = read_clock(CLOCK_MONOTONIC_RAW);
    const Nanos mono_after = read_clock(CLOCK_MONOTONIC);
    p.asleep_low = p.boottime - mono_after;
    p.asleep_high = p.boottime - mono_before;
    const Nanos width = mono_after - mono_before;
    // The terms belong together only if no suspend fell between them; BOOTTIME runs on in one, so ask it again.
    const bool slept = read_clock(CLOCK_BOOTTIME) - p.boottime > width + kSuspendTolerance;
    if (i == 0 || (!slept && width < best.asleep_high - best.asleep_low)) best = p;
    if (!slept && width <= kBracketGood) break;
  }
  return best;
}

// vmclock (Linux, include/uapi/linux/vmclock-abi.h): magic "VCLK", and a marker that changes with each disruption.
constexpr std::uint32_t kVmClockMagic = 0x4b4c4356;
constexpr std::size_t kVmMarkerOffset = 16;
constexpr std::size_t kVmPageBytes = 4096;

}  // namespace

ElapsedClock::ElapsedClock(ClockShim shim) : shim_(shim.limited()) {
  Pair p = read_pair();
  // Readers in other processes allow for half a good bracket; insist on one.
  for (int i = 0; i < 100 && p.asleep_high - p.asleep_low > kBracketGood; ++i) p = read_pair();
  asleep_.store(p.asleep_low + (p.asleep_high - p.asleep_low) / 2, std::memory_order_relaxed);
}

Nanos ElapsedClock::now() const {  // C1
  for (int i = 0;; ++i) {
    const Nanos before = read_clock(CLOCK_MONOTONIC);
    const Nanos raw = read_clock(CLOCK_MONOTONIC_RAW);
    const Nanos boot = read_clock(CLOCK_BOOTTIME);
    const Nanos after = read_clock(CLOCK_MONOTONIC);
    Nanos asleep = asleep_.load(std::memory_order_relaxed);
    if (boot - after <= asleep + kSuspendTolerance && boot - before >= asleep - kSuspendTolerance &&
        (after - before <= kSuspendTolerance || i >= kTries)) {
      return shim_.apply(raw + asleep);
    }
    if (boot - after > asleep + kSuspendTolerance) {  // the machine slept: measure anew, then read again
      const Pair p = read_pair();
      const Nanos measured = p.asleep_low + (p.asleep_high - p.asleep_low) / 2;
      // A compare-exchange, so that a thread held up here does not put an older measurement back.
      if (measured > asleep) asleep_.compare_exchange_strong(asleep, measured, std::memory_order_relaxed);
    }
    if (i >= 2 * kTries) return shim_.apply(raw + asleep_.load(std::memory_order_relaxed));
  }
}

namespace {
// One pair per thread serves every HotClock of the thread: it knows nothing of shims.
thread_local constinit Pair pair{};
thread_local constinit Nanos last_age = -1;  // of the pair, when this thread looked last; below 0: there is none yet
}  // namespace

ClockReading HotClock::now() const {  // C1
  Nanos age = read_clock(CLOCK_BOOTTIME) - pair.boottime;
  if (last_age < 0 || age > kPairAgeMax || age < 0) [[unlikely]] {
    pair = read_pair();
    age = 0;
  }
  last_age = age;
  return reading_at(age);
}

ClockReading HotClock::past() const {
  if (last_age < 0) return {kNever, kNever, 0};
  return reading_at(last_age);
}

ClockReading HotClock::reading_at(Nanos age) const {
  // BOOTTIME may be slewed against RAW by at most a tenth (adjtimex). ElapsedClock holds one value of BOOTTIME -
  // MONOTONIC from its own bracket: add half a good bracket, so that H of the edge lies inside as well.
  const Nanos slack = age / 10 + 1 + kBracketGood / 2;
  ClockReading reading;
  reading.earliest = shim_.apply(pair.raw_low + pair.asleep_low + age - slack);
  reading.latest = shim_.apply(pair.raw_high + pair.asleep_high + age + slack);
  reading.suspended_ns = pair.asleep_low;
  return reading;
}

Nanos suspended_ns_now() { return read_pair().asleep_low; }

DisruptionDetector::DisruptionDetector() : suspended_ns_(suspended_ns_now()) {
  const int fd = ::open("/dev/vmclock0", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void* page = ::mmap(nullptr, kVmPageBytes, PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  if (page == MAP_FAILED) return;
  std::uint32_t magic = 0;
  std::memcpy(&magic, page, sizeof magic);
  if (magic != kVmClockMagic) {
    ::munmap(page, kVmPageBytes);
    return;
  }
  vm_page_ = page;
  vm_marker_ = vm_marker();
}

DisruptionDetector::~DisruptionDetector() {
  if (vm_page_ != nullptr) ::munmap(vm_page_, kVmPageBytes);
}

std::uint64_t DisruptionDetector::vm_marker() const {
  return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(static_cast<const char*>(vm_page_) + kVmMarkerOffset),
                         __ATOMIC_ACQUIRE);
}

bool DisruptionDetector::poll() {  // C2
  bool disrupted = false;
  // The bracket need not be tight: it must only hold the former value.
  const Nanos before = read_clock(CLOCK_MONOTONIC);
  const Nanos boot = read_clock(CLOCK_BOOTTIME);
  if (boot - before > suspended_ns_ + kSuspendTolerance || boot - before < suspended_ns_ - kSuspendTolerance) {
    const Nanos measured = suspended_ns_now();  // or this thread was only held up between the two
    if (measured > suspended_ns_ + kSuspendTolerance || measured < suspended_ns_ - kSuspendTolerance) {
      suspended_ns_ = measured;
      disrupted = true;
    }
  }
  if (vm_page_ != nullptr) {
    const std::uint64_t marker = vm_marker();
    if (marker != vm_marker_) {
      vm_marker_ = marker;
      disrupted = true;
    }
  }
  if (disrupted) ++epoch_;
  return disrupted;
}

std::uint64_t wall_ms_now() {
  const Nanos now = read_clock(CLOCK_REALTIME);
  return now <= 0 ? 0 : static_cast<std::uint64_t>(now / kMillisecond);
}

std::int64_t wall_ns_now() {
  const Nanos now = read_clock(CLOCK_REALTIME);
  return now <= 0 ? 0 : now;
}

std::uint64_t wall_us_now() {
  const Nanos now = read_clock(CLOCK_REALTIME);
  return now <= 0 ? 0 : static_cast<std::uint64_t>(now / 1000);
}

std::int64_t monotonic_ns_now() { return read_clock(CLOCK_MONOTONIC); }

Result<std::string> machine_boot_id() {
  const char* path = "/proc/sys/kernel/random/boot_id";
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(Code::kUnavailable, std::string(path) + ": " + std::strerror(errno));
  char text[64];
  const ssize_t n = ::read(fd, text, sizeof text);
  ::close(fd);
  if (n < 36) return fail(Code::kUnavailable, std::string(path) + ": not a boot id");
  return std::string(text, 36);
}

Result<std::uint64_t> clock_run(const ClockShim& shim) {
  const auto machine = machine_boot_id();
  if (!machine) return fail(machine.error());
  return hash64(*machine + "/" + std::to_string(shim.offset_ns) + "/" + std::to_string(shim.rate_ppb) + "/" +
                std::to_string(shim.origin_ns));
}

Result<std::uint64_t> time_namespace_id() {
  struct stat info{};
  if (::stat("/proc/self/ns/time", &info) != 0) {
    if (errno == ENOENT) return 0;  // a kernel without time namespaces
    return fail(Code::kUnavailable, std::string("/proc/self/ns/time: ") + std::strerror(errno));
  }
  return static_cast<std::uint64_t>(info.st_ino);
}

}  // namespace tidelock
