"""Made-up source trees that look like another stack's: just enough of its interfaces for our main to compile."""

from __future__ import annotations

from pathlib import Path

LITE = "tensorflow/lite"
MICRO = f"{LITE}/micro"
KERNELS = f"{MICRO}/kernels"

SCHEMA = """\
#pragma once
#include "flatbuffers/flatbuffers.h"
static_assert(FLATBUFFERS_VERSION_MAJOR == 1 && FLATBUFFERS_VERSION_MINOR == 2 &&
              FLATBUFFERS_VERSION_REVISION == 3, "another version");
namespace tflite {
enum BuiltinOperator { BuiltinOperator_ADD, BuiltinOperator_FULLY_CONNECTED };
struct Model { unsigned char bytes[8]; };
inline const Model* GetModel(const void* from) { return static_cast<const Model*>(from); }
}
"""

ALLOCATOR = """\
#pragma once
#include <cstddef>
#include <cstdint>
namespace tflite {
struct MicroAllocator {
  static MicroAllocator* Create(uint8_t* arena, size_t bytes) {
    return bytes < sizeof(MicroAllocator) ? nullptr : reinterpret_cast<MicroAllocator*>(arena);
  }
};
}
"""

VARIABLES = """\
#pragma once
#include "tensorflow/lite/micro/micro_allocator.h"
namespace tflite {
struct MicroResourceVariables {
  static MicroResourceVariables* Create(MicroAllocator*, int) { return nullptr; }
};
}
"""

# A network of three layers; what its kernel gives stands in every byte of the output.
INTERPRETER = """\
#pragma once
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#include "tensorflow/lite/schema/schema_generated.h"
namespace tflite {
class MicroInterpreter {
 public:
  MicroInterpreter(const Model*, const MicroOpResolver& resolver, MicroAllocator*, MicroResourceVariables*)
      : resolver_(resolver) {}
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  size_t arena_used_bytes() const { return 77; }
  size_t inputs_size() const { return 1; }
  size_t outputs_size() const { return 1; }
  TfLiteTensor* input(size_t) { return &input_; }
  TfLiteTensor* output(size_t) { return &output_; }
 private:
  const MicroOpResolver& resolver_;
  char bytes_[64];
  TfLiteTensor input_, output_;
};
}
"""

INTERPRETER_SOURCE = """\
#include "tensorflow/lite/micro/micro_interpreter.h"
namespace tflite {
TfLiteStatus MicroInterpreter::AllocateTensors() {
  input_.data.raw = bytes_;
  output_.data.raw = bytes_;
  input_.bytes = 1;
  output_.bytes = 3;
  return kTfLiteOk;
}
TfLiteStatus MicroInterpreter::Invoke() {
  TfLiteNode node = {bytes_, output_.bytes};
  for (int layer = 0; layer < 3; layer++) {
    TfLiteStatus status = resolver_.FindOp(BuiltinOperator_FULLY_CONNECTED)->invoke(nullptr, &node);
    if (status != kTfLiteOk) return status;
  }
  return kTfLiteOk;
}
}
"""

RESOLVER = """\
#pragma once
#include <cstddef>
#include "tensorflow/lite/micro/kernels/fully_connected.h"
#include "tensorflow/lite/schema/schema_generated.h"
namespace tflite {
class MicroOpResolver {
 public:
  virtual const TFLMRegistration* FindOp(BuiltinOperator op) const = 0;
};
template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  const TFLMRegistration* FindOp(BuiltinOperator op) const override {
    for (unsigned int i = 0; i < count_; i++) if (codes_[i] == op) return &registrations_[i];
    return nullptr;
  }
  TfLiteStatus AddAdd(const TFLMRegistration& registration = Register_ADD()) {
    return AddBuiltin(BuiltinOperator_ADD, registration);
  }
  TfLiteStatus AddFullyConnected(
      const TFLMRegistration& registration = Register_FULLY_CONNECTED()) {
    return AddBuiltin(BuiltinOperator_FULLY_CONNECTED,
                      registration);
  }
  TfLiteStatus AddNothing() { return kTfLiteOk; }
 private:
  TfLiteStatus AddBuiltin(BuiltinOperator op, const TFLMRegistration& registration) {
    codes_[count_] = op;
    registrations_[count_++] = registration;
    return kTfLiteOk;
  }
  BuiltinOperator codes_[tOpCount];
  TFLMRegistration registrations_[tOpCount];
  unsigned int count_ = 0;
};
}
"""

KERNEL_HEADER = """\
#pragma once
#include <cstddef>
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
struct TfLiteContext;
struct TfLiteNode { char* to; size_t bytes; };
struct TfLiteTensor { struct { char* raw; } data; size_t bytes; };
struct TFLMRegistration { TfLiteStatus (*invoke)(TfLiteContext*, TfLiteNode*); };
namespace tflite {
TFLMRegistration Register_ADD();
TFLMRegistration Register_FULLY_CONNECTED();
TfLiteStatus Fill(TfLiteNode* node, char value);
}
"""

KERNEL = """\
#include "tensorflow/lite/micro/kernels/fully_connected.h"
namespace tflite {
static TfLiteStatus Eval(TfLiteContext*, TfLiteNode* node) { return Fill(node, 17); }
TFLMRegistration Register_FULLY_CONNECTED() { return {Eval}; }
}
"""

KERNEL_COMMON = """\
#include "tensorflow/lite/micro/kernels/fully_connected.h"
namespace tflite {
TfLiteStatus Fill(TfLiteNode* node, char value) {
  for (size_t i = 0; i < node->bytes; i++) node->to[i] = value;
  return kTfLiteOk;
}
}
"""

KERNEL_CMSIS = """\
#include "Include/arm_nnfunctions.h"
#include "tensorflow/lite/micro/kernels/fully_connected.h"
#ifndef CMSIS_NN
#error this variant is for CMSIS-NN
#endif
namespace tflite {
static TfLiteStatus Eval(TfLiteContext*, TfLiteNode* node) { return Fill(node, arm_value()); }
TFLMRegistration Register_FULLY_CONNECTED() { return {Eval}; }
}
"""

TFLM_FILES = {
    f"{LITE}/schema/schema_generated.h": SCHEMA,
    f"{MICRO}/micro_allocator.h": ALLOCATOR,
    f"{MICRO}/micro_interpreter.h": INTERPRETER,
    f"{MICRO}/micro_interpreter.cc": INTERPRETER_SOURCE,
    f"{MICRO}/micro_interpreter_test.cc": "#error a test",
    f"{MICRO}/fake_context.cc": "#error for tests",
    f"{MICRO}/vendor/micro_interpreter.cc": "#error a vendor's",
    f"{MICRO}/micro_mutable_op_resolver.h": RESOLVER,
    f"{MICRO}/micro_resource_variable.h": VARIABLES,
    f"{KERNELS}/fully_connected.h": KERNEL_HEADER,
    f"{KERNELS}/fully_connected.cc": KERNEL,
    f"{KERNELS}/fully_connected_common.cc": KERNEL_COMMON,
    f"{KERNELS}/fully_connected_test.cc": "#error a test",
    f"{KERNELS}/cmsis_nn/fully_connected.cc": KERNEL_CMSIS,
    f"{KERNELS}/vendor/fully_connected.cc": "#error a vendor's",
    f"{KERNELS}/softmax.cc": "#error not of this network",
    "third_party/flatbuffers/include/flatbuffers/flatbuffers.h": '#include "flatbuffers/base.h"\n',
    "third_party/flatbuffers/include/flatbuffers/base.h": "#define FLATBUFFERS_VERSION_MAJOR 1\n"
    "#define FLATBUFFERS_VERSION_MINOR 2\n#define FLATBUFFERS_VERSION_REVISION 3\n",
    "third_party/gemmlowp/fixedpoint/fixedpoint.h": "",
    "third_party/ruy/ruy/profiler/instrumentation.h": "",
}

CMSIS_FILES = {
    "Include/arm_nnfunctions.h": '#ifdef __cplusplus\nextern "C"\n#endif\nchar arm_value(void);\n',
    "Source/Functions/arm_value.c": '#include "arm_nnfunctions.h"\nchar arm_value(void) { return 34; }\n',
    "Source/Functions/arm_value_f16.c": "#error floating point\n",
    "Tests/arm_value.c": "#error a test\n",
}


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
