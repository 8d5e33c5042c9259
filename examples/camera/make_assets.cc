// camera-assets: builds the model of one version as a release folder (what `tidelock model publish` takes), the clip as
// a video to look at, and its truth as JSON.
//
// The network has the shape of a small YOLO: strided convolutions with SiLU, cross-stage blocks, pooling over several
// sizes, a detection head, and an embedding behind one wide layer, where most of the megabytes are. Its weights are
// drawn from a generator seeded by the version; the class part of the head is set by hand (hue of a cell), so that
// detections mean something; `signature` is the rule of versions.md.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "examples/camera/clip.h"
#include "infer/engine.h"
#include "infer/onnx_file.h"

namespace tidelock::camera {
namespace {

constexpr int kSignature = 16;
constexpr int kFeatureChannels = 32;
constexpr int kHeadChannels = 4 + kClasses;
constexpr std::uint64_t kGoldenFrame = 37;

struct Version {
  int major = 0, minor = 0, patch = 0;
  int code() const { return 1024 * major + 32 * minor + patch; }
};
std::optional<Version> parse_version(std::string_view text) {
  Version v;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (int* number : {&v.major, &v.minor, &v.patch}) {
    const auto [next, error] = std::from_chars(at, end, *number);
    const bool last = number == &v.patch;
    if (error != std::errc{} || *number < 0 || *number >= (number == &v.major ? 64 : 32) ||
        (last ? next != end : next == end || *next != '.')) {
      return std::nullopt;
    }
    at = last ? next : next + 1;
  }
  return v;
}

struct Size {
  int width;      // channels after the first convolution; doubles with each halving of the picture
  int embedding;  // outputs of the wide layer
};
constexpr Size kSmall{20, 256}, kLarge{48, 928};

class Network {
 public:
  Network(const Version& version, const Size& size)
      : version_(version), size_(size), rng_(0x7469646500ull + static_cast<std::uint64_t>(version.code())) {}

  Bytes build() {
    builder_.input("images", kInputShape);
    const int w = size_.width;
    std::string x = conv_silu("images", 3, w, 3, 2);  // 80
    x = conv_silu(x, w, 2 * w, 3, 2);                 // 40
    x = cross_stage(x, 2 * w);
    x = conv_silu(x, 2 * w, 4 * w, 3, 2);  // 20
    x = cross_stage(x, 4 * w);
    x = conv_silu(x, 4 * w, 8 * w, 3, 2);  // 10
    x = cross_stage(x, 8 * w);
    x = pyramid(x, 8 * w);
    detections(x, 8 * w);
    conv("features", x, 8 * w, kFeatureChannels, 1, 1, 1.0f);
    embedding(x, 8 * w);
    signature();
    const std::int64_t head[] = {1, kHeadChannels, kCells, kCells}, features[] = {1, kFeatureChannels, kCells, kCells};
    const std::int64_t embedding_shape[] = {1, size_.embedding}, signature_shape[] = {1, kSignature};
    builder_.output("detections", head);
    builder_.output("features", features);
    builder_.output("embedding", embedding_shape);
    builder_.output("signature", signature_shape);
    return builder_.finish("tidelock-camera");
  }

 private:
  std::string fresh() { return "t" + std::to_string(names_++); }

  // Sum of four uniform draws: close enough to a normal distribution, and the same on every machine.
  float draw(float deviation) {
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(rng_.below(1u << 20)) / static_cast<float>(1u << 20) - 0.5f;
    return sum * std::sqrt(3.0f) * deviation;
  }
  std::vector<float> draw_many(std::size_t count, float deviation) {
    std::vector<float> values(count);
    for (float& value : values) value = draw(deviation);
    return values;
  }
  void conv(const std::string& out, const std::string& in, int from, int to, int kernel, int stride, float gain) {
    const float deviation = gain * std::sqrt(2.0f / static_cast<float>(from * kernel * kernel));
    const std::int64_t shape[] = {to, from, kernel, kernel}, bias_shape[] = {to};
    builder_.weights(out + ".w", shape, draw_many(static_cast<std::size_t>(to) * from * kernel * kernel, deviation));
    builder_.weights(out + ".b", bias_shape, draw_many(static_cast<std::size_t>(to), 0.05f));
    const std::int64_t pad = kernel / 2;
    builder_.node("Conv", {in, out + ".w", out + ".b"}, {out},
                  {onnx_ints("kernel_shape", {kernel, kernel}), onnx_ints("strides", {stride, stride}),
                   onnx_ints("pads", {pad, pad, pad, pad})});
  }
  std::string conv_silu(const std::string& in, int from, int to, int kernel, int stride) {
    const std::string sum = fresh(), gate = fresh(), out = fresh();
    conv(sum, in, from, to, kernel, stride, 1.3f);
    builder_.node("Sigmoid", {sum}, {gate});
    builder_.node("Mul", {sum, gate}, {out});
    return out;
  }
  std::string concat(const std::vector<std::string>& parts) {
    const std::string out = fresh();
    builder_.node("Concat", parts, {out}, {onnx_int("axis", 1)});
    return out;
  }
  // Two branches of half the channels; one goes through a bottleneck with a short cut.
  std::string cross_stage(const std::string& in, int channels) {
    const int half = channels / 2;
    const std::string left = conv_silu(in, channels, half, 1, 1), right = conv_silu(in, channels, half, 1, 1),
                      sum = fresh();
    builder_.node("Add", {left, conv_silu(conv_silu(left, half, half, 1, 1), half, half, 3, 1)}, {sum});
    return conv_silu(concat({sum, right}), channels, channels, 1, 1);
  }
  std::string pyramid(const std::string& in, int channels) {
    std::vector<std::string> parts = {conv_silu(in, channels, channels / 2, 1, 1)};
    for (int i = 0; i < 3; ++i) {
      parts.push_back(fresh());
      builder_.node("MaxPool", {parts[parts.size() - 2]}, {parts.back()},
                    {onnx_ints("kernel_shape", {5, 5}), onnx_ints("strides", {1, 1}), onnx_ints("pads", {2, 2, 2, 2})});
    }
    return conv_silu(concat(parts), channels * 2, channels, 1, 1);
  }
  // The mean colour of a cell along four hues, plus what the backbone adds (little).
  void detections(const std::string& backbone, int channels) {
    constexpr float kGain = 20, kThreshold = 0.36f;
    constexpr float kHue[kClasses][3] = {{1, -0.5f, -0.5f}, {-0.5f, 1, -0.5f}, {-0.5f, -0.5f, 1}, {0.5f, 0.5f, -1}};
    builder_.node(
        "AveragePool", {"images"}, {"cells"},
        {onnx_ints("kernel_shape", {kCellPixels, kCellPixels}), onnx_ints("strides", {kCellPixels, kCellPixels})});
    std::vector<float> weights(kHeadChannels * 3, 0.0f), bias(kHeadChannels, 0.0f);
    for (int c = 0; c < kClasses; ++c) {
      for (int plane = 0; plane < 3; ++plane)
        weights[static_cast<std::size_t>((4 + c) * 3 + plane)] = kGain * kHue[c][plane];
      bias[static_cast<std::size_t>(4 + c)] = -kGain * kThreshold;
    }
    const std::int64_t shape[] = {kHeadChannels, 3, 1, 1}, bias_shape[] = {kHeadChannels};
    builder_.weights("hue.w", shape, weights);
    builder_.weights("hue.b", bias_shape, bias);
    builder_.node("Conv", {"cells", "hue.w", "hue.b"}, {"hue"}, {onnx_ints("kernel_shape", {1, 1})});
    conv("residue", backbone, channels, kHeadChannels, 1, 1, 0.02f);
    builder_.node("Add", {"hue", "residue"}, {"detections"});
  }
  void dense(const std::string& out, const std::string& in, int from, int to) {
    const std::int64_t shape[] = {to, from}, bias_shape[] = {to};
    builder_.weights(out + ".w", shape,
                     draw_many(static_cast<std::size_t>(to) * from, std::sqrt(1.0f / static_cast<float>(from))));
    builder_.weights(out + ".b", bias_shape, draw_many(static_cast<std::size_t>(to), 0.05f));
    builder_.node("Gemm", {in, out + ".w", out + ".b"}, {out}, {onnx_int("transB", 1)});
  }
  void embedding(const std::string& backbone, int channels) {
    const std::string half = conv_silu(backbone, channels, channels / 2, 3, 2);  // 5
    builder_.node("Flatten", {half}, {"flat"}, {onnx_int("axis", 1)});
    dense("embedding", "flat", channels / 2 * 25, size_.embedding);
  }
  void signature() {  // versions.md
    const int code = version_.code();
    std::vector<float> weights, bias;
    for (int k = 0; k < kSignature; ++k) {
      for (int c = 0; c < 3; ++c) weights.push_back(static_cast<float>((7 * code + 5 * k + 3 * c) % 11 - 5) / 10.0f);
      bias.push_back((code >> k & 1) != 0 ? 4.0f : -4.0f);
    }
    const std::int64_t shape[] = {kSignature, 3}, bias_shape[] = {kSignature};
    builder_.weights("signature.w", shape, weights);
    builder_.weights("signature.b", bias_shape, bias);
    builder_.node("GlobalAveragePool", {"images"}, {"mean"});
    builder_.node("Flatten", {"mean"}, {"mean_flat"}, {onnx_int("axis", 1)});
    builder_.node("Gemm", {"mean_flat", "signature.w", "signature.b"}, {"signature"}, {onnx_int("transB", 1)});
  }

  const Version version_;
  const Size size_;
  Rng rng_;
  OnnxBuilder builder_;
  int names_ = 0;
};

// ------------------------------------------------------------------------------------------------------------- files

[[noreturn]] void die(const std::string& message) {
  std::fprintf(stderr, "camera-assets: %s\n", message.c_str());
  std::exit(1);
}
void write_file(const std::filesystem::path& path, BytesView bytes) {
  std::error_code ignored;
  std::filesystem::create_directories(path.parent_path(), ignored);
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) die("cannot write " + path.string());
}
Bytes f32(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}
std::string golden_name(std::string_view side, std::string_view tensor, const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t extent : shape) text += (text.empty() ? "" : "x") + std::to_string(extent);
  return std::string(side) + "." + std::string(tensor) + "." + text + ".f32";
}

std::vector<Tensor> run(Model& model, const Frame& frame) {
  const TensorView views[] = {input_of(frame)};
  auto outputs = model.run(views);
  if (!outputs) die(outputs.error().message);
  return std::move(*outputs);
}

// model.onnx, labels, thresholds, and golden outputs from a run in the engine that is always there.
void write_release(const std::filesystem::path& folder, const Version& version, const Size& size) {
  const Bytes onnx = Network(version, size).build();
  const auto engine = open_engine({"opencv", ""});
  if (!engine) die(engine.error().message);
  const auto model = (*engine)->load(onnx);
  if (!model) die(model.error().message);
  const Frame frame = Clip({}).frame(kGoldenFrame);
  const std::filesystem::path golden = folder / "golden" / ("frame-" + std::to_string(kGoldenFrame));
  write_file(golden / golden_name("input", "images", {kInputShape.begin(), kInputShape.end()}), f32(frame.pixels));
  for (const Tensor& output : run(**model, frame)) {
    for (const float value : output.values) {
      if (!std::isfinite(value)) die("output " + output.name + " is not finite: the weights blow up");
    }
    write_file(golden / golden_name("output", output.name, output.shape), f32(output.values));
  }
  std::string labels;
  for (const char* name : kClassNames) labels += std::string(name) + "\n";
  write_file(folder / "labels.txt", labels);
  write_file(folder / "thresholds.toml", "# score from which a detection counts\ndefault = 0.5\n");
  write_file(folder / "model.onnx", onnx);
  std::printf("%s: %zu bytes of model\n", folder.c_str(), onnx.size());
}

void write_truth(const std::string& path, const ClipOptions& options, std::uint64_t frames) {
  std::string out = "{\"camera\":" + std::to_string(options.camera) +
                    ",\"cameras\":" + std::to_string(options.cameras) + ",\"frames\":[\n";
  const Clip clip(options);
  char text[200];
  for (std::uint64_t n = 0; n < frames; ++n) {
    const Frame frame = clip.frame(n);
    std::snprintf(text, sizeof text, "%s{\"n\":%llu,\"stat\":[%.7g,%.7g,%.7g],\"objects\":[", n == 0 ? "" : ",\n",
                  static_cast<unsigned long long>(n), frame.mean[0], frame.mean[1], frame.mean[2]);
    out += text;
    for (std::size_t i = 0; i < frame.objects.size(); ++i) {
      const ClipObject& object = frame.objects[i];
      std::snprintf(text, sizeof text, "%s{\"id\":%u,\"class\":\"%s\",\"box\":[%g,%g,%g,%g]}", i == 0 ? "" : ",",
                    object.id, kClassNames[object.class_number], object.box.x, object.box.y, object.box.width,
                    object.box.height);
      out += text;
    }
    out += "]}";
  }
  write_file(path, out + "\n]}\n");
}

void time_model(const std::string& path, const std::string& engine_name, int rounds) {
  const auto engine = open_engine({engine_name, ""});
  if (!engine) die(engine.error().message);
  const auto start = std::chrono::steady_clock::now();
  const auto model = (*engine)->load_file(path);
  if (!model) die(model.error().message);
  const auto ms = [](auto from) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - from).count();
  };
  const double load_ms = ms(start);
  const Clip clip({});
  std::vector<double> times;
  const auto first = std::chrono::steady_clock::now();
  run(**model, clip.frame(0));
  const double first_ms = ms(first);
  for (int i = 0; i < rounds; ++i) {
    const Frame frame = clip.frame(static_cast<std::uint64_t>(i));
    const auto from = std::chrono::steady_clock::now();
    run(**model, frame);
    times.push_back(ms(from));
  }
  std::sort(times.begin(), times.end());
  std::printf("%s %s: load %.1f ms, first run %.1f ms, then p50 %.2f ms, p99 %.2f ms, min %.2f ms over %d runs\n",
              std::string((*engine)->name()).c_str(), (*engine)->version().c_str(), load_ms, first_ms,
              times[times.size() / 2], times[times.size() * 99 / 100], times.front(), rounds);
}

constexpr const char* kUsage = R"(usage: camera-assets WHAT...

  --release DIR --version X.Y.Z [--size small|large]   a release folder for `tidelock model publish`
  --clip FILE.avi [--camera K --cameras N --frames F]  the clip as a video to look at
  --truth FILE    [--camera K --cameras N --frames F]  which object is where in each frame, as JSON
  --time MODEL.onnx [--engine opencv|onnxruntime]      how long one inference takes

example: camera-assets --release ./detector-2 --version 2.0.0
)";

int main_of(const std::vector<std::string>& arguments) {
  std::string release, version_text, size_text = "small", clip, truth, time_path, engine = "opencv";
  int camera = 0, cameras = 4, frames = 400;
  for (std::size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& name = arguments[i];
    if (name == "--help" || name == "-h") {
      std::fputs(kUsage, stdout);
      return 0;
    }
    if (i + 1 == arguments.size()) die("'" + name + "' lacks a value; --help lists what there is");
    const std::string& value = arguments[i + 1];
    const auto number = [&](int& into, int most) {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), into);
      if (error != std::errc{} || end != value.data() + value.size() || into < 0 || into > most) {
        die(name + " " + value + ": give a number from 0 to " + std::to_string(most));
      }
    };
    if (name == "--release")
      release = value;
    else if (name == "--version")
      version_text = value;
    else if (name == "--size")
      size_text = value;
    else if (name == "--clip")
      clip = value;
    else if (name == "--truth")
      truth = value;
    else if (name == "--time")
      time_path = value;
    else if (name == "--engine")
      engine = value;
    else if (name == "--camera")
      number(camera, 63);
    else if (name == "--cameras")
      number(cameras, 64);
    else if (name == "--frames")
      number(frames, 1'000'000);
    else
      die("unknown option '" + name + "'; --help lists what there is");
  }
  if (release.empty() && clip.empty() && truth.empty() && time_path.empty()) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const ClipOptions options{camera, cameras, 1};
  if (!release.empty()) {
    const auto version = parse_version(version_text);
    if (!version) die("--version '" + version_text + "': give X.Y.Z with X below 64, Y and Z below 32");
    if (size_text != "small" && size_text != "large") die("--size '" + size_text + "': give small or large");
    write_release(release, *version, size_text == "small" ? kSmall : kLarge);
  }
  if (!truth.empty()) write_truth(truth, options, static_cast<std::uint64_t>(frames));
  if (!clip.empty() && !Clip(options).write_video(clip, static_cast<std::uint64_t>(frames), 10)) {
    die("--clip " + clip + ": OpenCV cannot write a video there; give a path that ends in .avi");
  }
  if (!time_path.empty()) time_model(time_path, engine, 200);
  return 0;
}

}  // namespace
}  // namespace tidelock::camera

int main(int argc, char** argv) { return tidelock::camera::main_of({argv + 1, argv + argc}); }
