// What runs on a value where it lies: in the gateway's arena, in L1, or in an answer of the edge.
//
// The arena is mapped read-only, so a reader can neither pin a value there nor lock it: the edge may write another one
// over it at any time. So the visitor runs on the bytes as they are, and afterwards the reader looks whether they were
// left alone. A visitor
//   - must stand bytes that change under it: no length, offset or number read from them may lead it out of `bytes`, or
//     make it loop without end, and what it reads twice may differ;
//   - runs again when it was disturbed, or when a fresher value is found elsewhere: each run replaces what the run
//     before it made, and only the last one counts, if the reader says that the value was found;
//   - keeps no pointer into `bytes`: they are there during the run alone;
//   - is short: while it runs, no memory goes back that this reader's L1, or the mapping of an edge that is gone, let
//     go of. It may read by the same reader; such a read works, but puts nothing into L1.
// What it throws passes through.
//
// Owns:    nothing: what it was made from outlives it.
// Cost:    a call through a pointer.
// Aligned: `bytes` begins at a multiple of 8.
#pragma once

#include <string_view>
#include <type_traits>

namespace tidelock {

class InPlaceVisitor {
 public:
  template <class Look>
    requires(!std::is_same_v<std::remove_cvref_t<Look>, InPlaceVisitor>)
  InPlaceVisitor(Look&& look)  // NOLINT: a lambda is given as it is, and lasts as long as the call
      : look_(const_cast<void*>(static_cast<const void*>(&look))),
        call_([](void* at, std::string_view bytes) { (*static_cast<std::remove_reference_t<Look>*>(at))(bytes); }) {}
  void operator()(std::string_view bytes) const { call_(look_, bytes); }

 private:
  void* look_;
  void (*call_)(void* look, std::string_view bytes);
};

}  // namespace tidelock
