// For tests: a system call that fails. Root may chmod everything and no descriptor limit reaches epoll_ctl, so a kernel
// is made to refuse them: by a seccomp filter, which belongs to one thread and ends with it.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <thread>

namespace tidelock {

struct FailingCall {
  std::uint32_t number = 0;  // SYS_...
  std::uint32_t error = 0;   // errno
  // Calls with this second argument go through. The default is one that nobody passes.
  std::uint32_t spared_argument = 0x80000001;
};

// Runs `work` on a thread in which `call` fails. False, with nothing run, when this kernel has no such filters.
template <class Work>
[[nodiscard]] bool with_failing_call(const FailingCall& call, Work work) {
  bool filtered = false;
  std::thread thread([&] {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call.number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),  // its low half: little endian
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call.spared_argument, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | call.error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    filtered = ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
               ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
    if (filtered) work();
  });
  thread.join();
  return filtered;
}

}  // namespace tidelock
