// clock-preload: a library for LD_PRELOAD that gives each process of a test a clock of its own, which can be told to
// differ while it runs. It works on the binary that ships. Nothing of the machine's clock is touched.
//
// The file that TIDELOCK_CLOCK_FILE names is mapped: {u32 change count (odd while it changes), u32 unused, i64 wall
// offset ns, i64 slept ns, i64 raw offset ns, i64 raw rate ppb, i64 raw origin ns}. Only calls from the program itself
// are answered differently, not those of the libraries it loads: theirs time waits in the kernel, which would not
// follow.
//   CLOCK_REALTIME       + wall offset                                (somebody set the clock)
//   CLOCK_BOOTTIME       + slept                                      (the machine was suspended that long)
//   CLOCK_MONOTONIC_RAW  + raw offset + (raw - origin) * rate         (another oscillator)
//   CLOCK_MONOTONIC      as it is: the time that logs share
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace {

struct Setting {
  std::atomic<std::uint32_t> changes{0};
  std::uint32_t unused = 0;
  std::atomic<std::int64_t> wall_ns{0}, slept_ns{0}, raw_ns{0}, rate_ppb{0}, origin_ns{0};
};
static_assert(sizeof(Setting) == 48);

using Gettime = int (*)(clockid_t, timespec*);
Gettime real = nullptr;
const Setting* setting = nullptr;
std::uintptr_t program_begin = 0, program_end = 0;

// The first object that the loader names is the program.
int find_program(dl_phdr_info* info, std::size_t, void*) {
  program_begin = UINTPTR_MAX;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    const std::uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    if (from < program_begin) program_begin = from;
    if (from + info->dlpi_phdr[i].p_memsz > program_end) program_end = from + info->dlpi_phdr[i].p_memsz;
  }
  return 1;
}

__attribute__((constructor)) void load() {
  real = reinterpret_cast<Gettime>(dlsym(RTLD_NEXT, "clock_gettime"));
  const char* path = std::getenv("TIDELOCK_CLOCK_FILE");
  const int fd = path == nullptr ? -1 : ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void* map = ::mmap(nullptr, sizeof(Setting), PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  if (map == MAP_FAILED) return;
  dl_iterate_phdr(find_program, nullptr);
  setting = static_cast<const Setting*>(map);
}

std::int64_t differ(clockid_t id, std::int64_t ns) {
  for (;;) {
    const std::uint32_t before = setting->changes.load(std::memory_order_acquire);
    std::int64_t result = ns;
    if (id == CLOCK_REALTIME) {
      result += setting->wall_ns.load(std::memory_order_relaxed);
    } else if (id == CLOCK_BOOTTIME) {
      result += setting->slept_ns.load(std::memory_order_relaxed);
    } else {
      const std::int64_t passed = ns - setting->origin_ns.load(std::memory_order_relaxed);
      const std::int64_t rate = setting->rate_ppb.load(std::memory_order_relaxed);
      result += setting->raw_ns.load(std::memory_order_relaxed) + passed / 1'000'000'000 * rate +
                passed % 1'000'000'000 * rate / 1'000'000'000;
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (before % 2 == 0 && setting->changes.load(std::memory_order_relaxed) == before) return result;
  }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int clock_gettime(clockid_t id, timespec* t) noexcept {
  if (real == nullptr) real = reinterpret_cast<Gettime>(dlsym(RTLD_NEXT, "clock_gettime"));
  const int result = real(id, t);
  const auto caller = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  if (result != 0 || setting == nullptr || caller < program_begin || caller >= program_end) return result;
  if (id != CLOCK_REALTIME && id != CLOCK_BOOTTIME && id != CLOCK_MONOTONIC_RAW) return result;
  const std::int64_t ns = differ(id, std::int64_t{t->tv_sec} * 1'000'000'000 + t->tv_nsec);
  t->tv_sec = ns / 1'000'000'000;
  t->tv_nsec = ns % 1'000'000'000;
  return result;
}
