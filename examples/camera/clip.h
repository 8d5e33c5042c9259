// A clip whose truth is known: coloured things ride along three lanes past a row of cameras, drawn with OpenCV frame by
// frame. A thing that leaves one camera enters the next, so gateways meet objects that others have seen.
//
// Threads: a Clip is immutable; any thread. Cost: frame() draws 160x160 pixels, about 0.1 ms. The same options give the
// same pixels and the same truth on every machine. No OpenCV type leaves clip.cc.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "infer/engine.h"

namespace tidelock::camera {

inline constexpr int kFramePixels = 160;  // width and height
inline constexpr int kCellPixels = 16;    // the model looks at a frame in 10x10 cells
inline constexpr int kCells = kFramePixels / kCellPixels;
inline constexpr int kClasses = 4;
// labels.txt of the release holds the same, one a line.
inline constexpr std::array<const char*, kClasses> kClassNames = {"pallet", "cart", "robot", "crate"};

struct Box {
  float x = 0, y = 0, width = 0, height = 0;  // pixels, inside the frame
};
struct ClipObject {
  std::uint32_t id = 0;  // the same in every camera
  int class_number = 0;
  Box box;  // the visible part
};
struct Frame {
  std::uint64_t number = 0;
  std::vector<float> pixels;        // 3 x 160 x 160, planes red, green, blue, 0..1: the model's input "images"
  std::array<float, 3> mean{};      // of each plane: what the model's `signature` depends on (versions.md)
  std::vector<ClipObject> objects;  // at least a third of each is visible
};

struct ClipOptions {
  int camera = 0;   // 0..cameras-1
  int cameras = 4;  // 1..64
  std::uint64_t seed = 1;
};

class Clip {
 public:
  explicit Clip(ClipOptions options);  // options out of range are brought into it
  Frame frame(std::uint64_t number) const;
  // Every id that any camera ever sees.
  std::vector<std::uint32_t> object_ids() const;
  // The clip as a Motion JPEG file, to look at. False when this OpenCV cannot write one.
  bool write_video(const std::string& path, std::uint64_t frames, double fps) const;

 private:
  struct Thing {
    std::uint32_t id;
    int class_number;
    int lane;
    std::int64_t start;  // pixels along the lane at frame 0
    int width;
  };
  void draw(std::uint64_t number, void* mat, std::vector<ClipObject>& objects) const;

  ClipOptions options_;
  std::vector<Thing> things_;
  std::vector<std::uint8_t> floor_;  // one grey value a pixel
};

inline constexpr std::array<std::int64_t, 4> kInputShape = {1, 3, kFramePixels, kFramePixels};
inline TensorView input_of(const Frame& frame) { return {"images", kInputShape, frame.pixels}; }

struct Detection {
  int class_number = 0;
  float score = 0;  // 0..1
  Box box;          // in whole cells
};
// What the model's output "detections" (1 x 8 x 10 x 10) says: neighbouring cells of one class are one object.
std::vector<Detection> decode_detections(const Tensor& detections);
// The object's part of the model's output "features" (1 x 32 x 10 x 10): the mean over the cells of its box.
std::vector<float> object_embedding(const Tensor& features, const Box& box);

}  // namespace tidelock::camera
