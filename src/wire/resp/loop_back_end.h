// What an EventLoop waits on. kAuto: EventLoop::kAutoBackEnd.
#pragma once

#include <cstdint>
#include <string_view>

namespace tidelock {

enum class LoopBackEnd : std::uint8_t { kAuto, kEpoll, kIoUring };
std::string_view back_end_name(LoopBackEnd back_end);  // "auto", "epoll", "io_uring"

}  // namespace tidelock
