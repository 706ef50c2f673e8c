/* TFLite Micro's interpreter behind sec_other.h. network.h is generated:
   OTHER_OPERATORS(X) is X(operator's name, the resolver's function for it) for each operator of the file,
   OTHER_OPERATOR_COUNT and OTHER_VARIABLES say how many operators and variables it has. */
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "network.h"
#include "sec_other.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_resource_variable.h"
#include "tensorflow/lite/schema/schema_generated.h"

extern "C" {
extern const unsigned char other_model[];
void __cxa_pure_virtual(void);
void __cxa_pure_virtual(void) {
    for (;;) {
    }
}
}

/* There is no heap. Destructors that nobody calls name these. */
void operator delete(void *) noexcept {}
void operator delete(void *, std::size_t) noexcept {}

namespace {

constexpr int kOperators = OTHER_OPERATOR_COUNT;
using Resolver = tflite::MicroMutableOpResolver<kOperators>;
using Invoke = TfLiteStatus (*)(TfLiteContext *, TfLiteNode *);

#define OTHER_CODE(name, add) tflite::BuiltinOperator_##name,
const tflite::BuiltinOperator kCodes[kOperators] = {OTHER_OPERATORS(OTHER_CODE)};

/* No constructor runs before main: both are made in place when the network starts. */
alignas(Resolver) unsigned char resolver_space[sizeof(Resolver)];
alignas(tflite::MicroInterpreter) unsigned char interpreter_space[sizeof(tflite::MicroInterpreter)];
Resolver *resolver;
tflite::MicroInterpreter *interpreter;

void (*hook)(void);
bool hooked;
Invoke originals[kOperators];

/* One function for each operator, since a node does not say whose it is. */
template <int I>
struct Hooked {
    static TfLiteStatus invoke(TfLiteContext *context, TfLiteNode *node) {
        const TfLiteStatus status = originals[I](context, node);
        hook();
        return status;
    }
};

template <int I>
struct Swap {
    static void all(bool on) {
        Swap<I - 1>::all(on);
        TFLMRegistration *const found = const_cast<TFLMRegistration *>(resolver->FindOp(kCodes[I - 1]));
        if (on) originals[I - 1] = found->invoke;
        found->invoke = on ? Hooked<I - 1>::invoke : originals[I - 1];
    }
};
template <>
struct Swap<0> {
    static void all(bool) {}
};

constexpr std::size_t padded(std::size_t bytes) { return (bytes + 15u) & ~static_cast<std::size_t>(15u); }

}  // namespace

int sec_other_init(uint8_t *arena, size_t arena_bytes, size_t *used_bytes) {
    const tflite::Model *const model = tflite::GetModel(other_model);
    tflite::MicroAllocator *allocator;
    tflite::MicroResourceVariables *variables = nullptr;
    hooked = false;
    resolver = new (resolver_space) Resolver;
#define OTHER_ADD(name, add) \
    if (resolver->add() != kTfLiteOk) return 1;
    OTHER_OPERATORS(OTHER_ADD)
    allocator = tflite::MicroAllocator::Create(arena, arena_bytes);
    if (allocator == nullptr) return 2;
    if (OTHER_VARIABLES != 0) {
        variables = tflite::MicroResourceVariables::Create(allocator, OTHER_VARIABLES);
        if (variables == nullptr) return 3;
    }
    interpreter = new (interpreter_space) tflite::MicroInterpreter(model, *resolver, allocator, variables);
    if (interpreter->AllocateTensors() != kTfLiteOk) return 4;
    *used_bytes = interpreter->arena_used_bytes();
    return 0;
}

int sec_other_invoke(const int8_t *input, int8_t *output, void (*after_layer)(void)) {
    if ((after_layer != nullptr) != hooked) {
        hooked = !hooked;
        Swap<kOperators>::all(hooked);
    }
    hook = after_layer;
    for (std::size_t i = 0; i < interpreter->inputs_size(); i++) {
        const TfLiteTensor *const to = interpreter->input(i);
        std::memcpy(to->data.raw, input, to->bytes);
        input += padded(to->bytes);
    }
    if (interpreter->Invoke() != kTfLiteOk) return 5;
    for (std::size_t i = 0; i < interpreter->outputs_size(); i++) {
        const TfLiteTensor *const from = interpreter->output(i);
        std::memcpy(output, from->data.raw, from->bytes);
        output += padded(from->bytes);
    }
    return 0;
}
