#include "examples/camera/clip.h"

#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

#include "base/rng.h"

namespace tidelock::camera {
namespace {

constexpr int kLanes = 3;
constexpr std::array<int, kLanes> kLaneTop = {1, 65, 127};
constexpr std::array<int, kLanes> kLaneSpeed = {3, -2, 4};  // pixels a frame
constexpr int kThingHeight = 32;
constexpr int kThingsPerLaneAndCamera = 1;
// Red, green, blue. Far apart in hue, so that the model's class weights (make_assets.cc) tell them apart.
constexpr std::array<std::array<int, 3>, kClasses> kColours = {
    {{215, 50, 40}, {40, 190, 50}, {40, 60, 220}, {220, 200, 40}}};
// The light swings by an eighth within 64 frames; whole numbers, so that every machine draws the same.
constexpr int kLightPeriod = 64;

std::int64_t wrap(std::int64_t value, std::int64_t length) { return (value % length + length) % length; }

}  // namespace

Clip::Clip(ClipOptions options) : options_(options) {
  options_.cameras = std::clamp(options_.cameras, 1, 64);
  options_.camera = std::clamp(options_.camera, 0, options_.cameras - 1);
  Rng rng(options_.seed);
  const std::int64_t world = static_cast<std::int64_t>(kFramePixels) * options_.cameras;
  const int per_lane = kThingsPerLaneAndCamera * options_.cameras;
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int n = 0; n < per_lane; ++n) {
      Thing thing;
      thing.id = static_cast<std::uint32_t>(lane * per_lane + n);
      thing.class_number = static_cast<int>(rng.below(kClasses));
      thing.lane = lane;
      thing.width = 36 + static_cast<int>(rng.below(25));
      thing.start = world / per_lane * n + static_cast<std::int64_t>(rng.below(40));
      things_.push_back(thing);
    }
  }
  Rng grain(options_.seed * 1000 + static_cast<std::uint64_t>(options_.camera));
  for (int i = 0; i < kFramePixels * kFramePixels; ++i)
    floor_.push_back(static_cast<std::uint8_t>(88 + grain.below(24)));
}

std::vector<std::uint32_t> Clip::object_ids() const {
  std::vector<std::uint32_t> ids;
  for (const Thing& thing : things_) ids.push_back(thing.id);
  return ids;
}

void Clip::draw(std::uint64_t number, void* mat, std::vector<ClipObject>& objects) const {
  cv::Mat& image = *static_cast<cv::Mat*>(mat);  // blue, green, red
  const cv::Mat grey(kFramePixels, kFramePixels, CV_8UC1, const_cast<std::uint8_t*>(floor_.data()));
  cv::cvtColor(grey, image, cv::COLOR_GRAY2BGR);
  for (int lane = 0; lane < kLanes; ++lane) {
    cv::line(image, {0, kLaneTop[lane] + kThingHeight + 4}, {kFramePixels, kLaneTop[lane] + kThingHeight + 4},
             {60, 60, 60}, 1);
  }
  const std::int64_t world = static_cast<std::int64_t>(kFramePixels) * options_.cameras;
  const std::int64_t left_edge = static_cast<std::int64_t>(kFramePixels) * options_.camera;
  for (const Thing& thing : things_) {
    const std::int64_t travelled =
        static_cast<std::int64_t>(number % static_cast<std::uint64_t>(world)) * kLaneSpeed[thing.lane];
    const int x = static_cast<int>(wrap(thing.start + travelled - left_edge + thing.width, world)) - thing.width;
    if (x >= kFramePixels) continue;
    const auto& colour = kColours[thing.class_number];
    const int y = kLaneTop[thing.lane];
    cv::rectangle(image, cv::Rect(x, y, thing.width, kThingHeight), cv::Scalar(colour[2], colour[1], colour[0]),
                  cv::FILLED);
    // Its number as a bar code of eight fields, so that things of one class look different.
    for (int bit = 0; bit < 8; ++bit) {
      if ((thing.id >> bit & 1u) != 0)
        cv::rectangle(image, cv::Rect(x + 2 + bit * 4, y + 13, 3, 6), {30, 30, 30}, cv::FILLED);
    }
    const int from = std::max(x, 0), to = std::min(x + thing.width, kFramePixels);
    if ((to - from) * 3 < thing.width) continue;
    objects.push_back({thing.id,
                       thing.class_number,
                       {static_cast<float>(from), static_cast<float>(y), static_cast<float>(to - from),
                        static_cast<float>(kThingHeight)}});
  }
  const int phase = static_cast<int>(number % kLightPeriod);
  const int light = 224 + std::abs(phase - kLightPeriod / 2);  // of 256
  for (int row = 0; row < kFramePixels; ++row) {
    std::uint8_t* at = image.ptr<std::uint8_t>(row);
    for (int i = 0; i < kFramePixels * 3; ++i) at[i] = static_cast<std::uint8_t>(at[i] * light / 256);
  }
}

Frame Clip::frame(std::uint64_t number) const {
  Frame frame;
  frame.number = number;
  cv::Mat image;
  draw(number, &image, frame.objects);
  constexpr int kPlane = kFramePixels * kFramePixels;
  frame.pixels.resize(3 * kPlane);
  std::array<std::uint64_t, 3> sums{};
  for (int i = 0; i < kPlane; ++i) {
    const cv::Vec3b& pixel = image.at<cv::Vec3b>(i / kFramePixels, i % kFramePixels);
    for (int plane = 0; plane < 3; ++plane) {
      const int value = pixel[2 - plane];
      frame.pixels[static_cast<std::size_t>(plane * kPlane + i)] = static_cast<float>(value) / 255.0f;
      sums[plane] += static_cast<std::uint64_t>(value);
    }
  }
  for (int plane = 0; plane < 3; ++plane) {
    frame.mean[plane] = static_cast<float>(static_cast<double>(sums[plane]) / (255.0 * kPlane));
  }
  return frame;
}

bool Clip::write_video(const std::string& path, std::uint64_t frames, double fps) const {
  try {
    cv::VideoWriter writer(path, cv::VideoWriter::fourcc('M', 'J', 'P', 'G'), fps, {kFramePixels, kFramePixels});
    if (!writer.isOpened()) return false;
    for (std::uint64_t n = 0; n < frames; ++n) {
      cv::Mat image;
      std::vector<ClipObject> objects;
      draw(n, &image, objects);
      writer.write(image);
    }
    return true;
  } catch (const cv::Exception&) {
    return false;
  }
}

// ------------------------------------------------------------------------------------------------ the model's outputs

std::vector<Detection> decode_detections(const Tensor& detections) {
  constexpr int kBoxChannels = 4;
  constexpr std::size_t kArea = kCells * kCells;
  if (detections.values.size() != (kBoxChannels + kClasses) * kArea) return {};
  std::array<int, kArea> best{};  // class of a cell, -1: floor
  std::array<float, kArea> logit{};
  for (std::size_t cell = 0; cell < kArea; ++cell) {
    best[cell] = -1;
    for (int c = 0; c < kClasses; ++c) {
      const float value = detections.values[static_cast<std::size_t>(kBoxChannels + c) * kArea + cell];
      if (value > 0 && (best[cell] < 0 || value > logit[cell])) {
        best[cell] = c;
        logit[cell] = value;
      }
    }
  }
  std::vector<Detection> out;
  for (int start = 0; start < static_cast<int>(kArea); ++start) {
    if (best[start] < 0) continue;
    const int wanted = best[start];
    int left = kCells, right = 0, top = kCells, bottom = 0;
    float strongest = 0;
    std::vector<int> open = {start};
    best[start] = -1;
    while (!open.empty()) {
      const int cell = open.back(), x = cell % kCells, y = cell / kCells;
      open.pop_back();
      left = std::min(left, x), right = std::max(right, x), top = std::min(top, y), bottom = std::max(bottom, y);
      strongest = std::max(strongest, logit[cell]);
      for (const auto& [dx, dy] : {std::pair{1, 0}, {-1, 0}, {0, 1}, {0, -1}}) {
        const int nx = x + dx, ny = y + dy;
        if (nx < 0 || ny < 0 || nx >= kCells || ny >= kCells || best[ny * kCells + nx] != wanted) continue;
        best[ny * kCells + nx] = -1;
        open.push_back(ny * kCells + nx);
      }
    }
    const auto pixels = [](int cells) { return static_cast<float>(cells * kCellPixels); };
    out.push_back({wanted,
                   1.0f / (1.0f + std::exp(-strongest)),
                   {pixels(left), pixels(top), pixels(right - left + 1), pixels(bottom - top + 1)}});
  }
  return out;
}

std::vector<float> object_embedding(const Tensor& features, const Box& box) {
  constexpr std::size_t kArea = kCells * kCells;
  const std::size_t channels = features.values.size() / kArea;
  const auto cell = [](float pixel) { return std::clamp(static_cast<int>(pixel / kCellPixels), 0, kCells - 1); };
  const int left = cell(box.x), right = cell(box.x + box.width - 1), top = cell(box.y),
            bottom = cell(box.y + box.height - 1);
  std::vector<float> out(channels, 0.0f);
  for (std::size_t c = 0; c < channels; ++c) {
    for (int y = top; y <= bottom; ++y) {
      for (int x = left; x <= right; ++x)
        out[c] += features.values[c * kArea + static_cast<std::size_t>(y * kCells + x)];
    }
    out[c] /= static_cast<float>((bottom - top + 1) * (right - left + 1));
  }
  return out;
}

}  // namespace tidelock::camera
