//===- Mutate.cpp - models that differ from a model in one place ----------===//
//
// Why: bytes that are changed at random are rarely a protocol buffer any more, so
// most inputs would end in the parser. Three of four times the fields of the parsed
// model are changed instead; strings and bytes by libFuzzer, which knows the words
// of dictionary.txt. The front end's own classes are without reflection, so those of
// the format's description are made here.
//
//===----------------------------------------------------------------------===//

#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/stubs/logging.h>

#include <fstream>
#include <random>

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t limit);

namespace {

/// A field of a message of the model, and which of its elements if it is repeated.
struct Place {
  Message *message;
  const FieldDescriptor *field;
  int index;
};

class Mutator {
public:
  Mutator(Message &model, unsigned seed) : random(seed) { collect(model); }

  void mutate();

private:
  void collect(Message &message);
  void change(Place place);
  void rearrange(Place place);
  void add(Place place);
  int64_t number(int64_t old);
  std::string text(const std::string &old);
  uint64_t below(uint64_t limit) { return random() % limit; }
  const Place &anyPlace() { return places[below(places.size())]; }

  std::mt19937_64 random;
  std::vector<Place> places;
  std::vector<Message *> messages;
  std::vector<std::string> strings;
};

} // namespace

void Mutator::collect(Message &message) {
  messages.push_back(&message);
  const Reflection *reflection = message.GetReflection();
  std::vector<const FieldDescriptor *> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor *field : fields) {
    int count = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      places.push_back({&message, field, field->is_repeated() ? i : -1});
      std::string scratch;
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING)
        strings.push_back(field->is_repeated()
                              ? reflection->GetRepeatedStringReference(message, field, i, &scratch)
                              : reflection->GetStringReference(message, field, &scratch));
      else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
        collect(field->is_repeated() ? *reflection->MutableRepeatedMessage(&message, field, i)
                                     : *reflection->MutableMessage(&message, field));
    }
  }
}

/// Where arithmetic goes wrong, or one beside what was there.
int64_t Mutator::number(int64_t old) {
  static constexpr int64_t kEdges[] = {0,
                                       1,
                                       2,
                                       3,
                                       -1,
                                       -2,
                                       4,
                                       8,
                                       16,
                                       31,
                                       32,
                                       63,
                                       64,
                                       127,
                                       128,
                                       255,
                                       256,
                                       1 << 16,
                                       INT32_MAX,
                                       INT32_MIN,
                                       int64_t(1) << 32,
                                       int64_t(1) << 40,
                                       int64_t(1) << 62,
                                       INT64_MAX,
                                       INT64_MIN};
  switch (below(4)) {
  case 0: return static_cast<int64_t>(static_cast<uint64_t>(old) + 1);
  case 1: return static_cast<int64_t>(static_cast<uint64_t>(old) - 1);
  default: return kEdges[below(std::size(kEdges))];
  }
}

std::string Mutator::text(const std::string &old) {
  if (!strings.empty() && below(2))
    return strings[below(strings.size())];
  std::string bytes = old;
  size_t limit = old.size() + 16;
  bytes.resize(limit);
  bytes.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t *>(bytes.data()), old.size(), limit));
  return bytes;
}

/// Another value for an element.
void Mutator::change(Place place) {
  auto [message, field, index] = place;
  const Reflection *r = message->GetReflection();
#define CHANGE(Type, value)                                                                        \
  {                                                                                                \
    auto old =                                                                                     \
        index < 0 ? r->Get##Type(*message, field) : r->GetRepeated##Type(*message, field, index);  \
    if (index < 0)                                                                                 \
      r->Set##Type(message, field, value);                                                         \
    else                                                                                           \
      r->SetRepeated##Type(message, field, index, value);                                          \
    return;                                                                                        \
  }
  switch (field->cpp_type()) {
  case FieldDescriptor::CPPTYPE_INT32: CHANGE(Int32, static_cast<int32_t>(number(old)))
  case FieldDescriptor::CPPTYPE_INT64: CHANGE(Int64, number(old))
  case FieldDescriptor::CPPTYPE_UINT32: CHANGE(UInt32, static_cast<uint32_t>(number(old)))
  case FieldDescriptor::CPPTYPE_UINT64: CHANGE(UInt64, static_cast<uint64_t>(number(old)))
  case FieldDescriptor::CPPTYPE_DOUBLE: CHANGE(Double, old + static_cast<double>(number(0)))
  case FieldDescriptor::CPPTYPE_FLOAT: CHANGE(Float, old + static_cast<float>(number(0)))
  case FieldDescriptor::CPPTYPE_BOOL: CHANGE(Bool, !old)
  case FieldDescriptor::CPPTYPE_ENUM: CHANGE(EnumValue, static_cast<int>(below(32)) + 0 * old)
  case FieldDescriptor::CPPTYPE_STRING: CHANGE(String, text(old))
  case FieldDescriptor::CPPTYPE_MESSAGE: {
    // A copy of another message of the kind, if it does not hold this one.
    const Place &other = anyPlace();
    if (other.field != field)
      return rearrange(place);
    const Message &from = other.index < 0
                              ? r->GetMessage(*other.message, field)
                              : r->GetRepeatedMessage(*other.message, field, other.index);
    std::unique_ptr<Message> copy(from.New());
    copy->CopyFrom(from);
    (index < 0 ? r->MutableMessage(message, field)
               : r->MutableRepeatedMessage(message, field, index))
        ->CopyFrom(*copy);
    return;
  }
  }
#undef CHANGE
}

/// One element less, or two that changed places.
void Mutator::rearrange(Place place) {
  auto [message, field, index] = place;
  const Reflection *r = message->GetReflection();
  if (index < 0)
    return r->ClearField(message, field);
  int count = r->FieldSize(*message, field);
  r->SwapElements(message, field, index, static_cast<int>(below(count)));
  if (below(2))
    r->RemoveLast(message, field);
}

/// A field that was not there, or one more element.
void Mutator::add(Place place) {
  Message *message = messages[below(messages.size())];
  const auto *descriptor = message->GetDescriptor();
  const FieldDescriptor *field = descriptor->field(below(descriptor->field_count()));
  const Reflection *r = message->GetReflection();
  if (below(2)) {
    message = place.message;
    field = place.field;
  }
  bool repeated = field->is_repeated();
#define ADD(Type, value)                                                                           \
  repeated ? r->Add##Type(message, field, value) : r->Set##Type(message, field, value);            \
  return
  r = message->GetReflection();
  switch (field->cpp_type()) {
  case FieldDescriptor::CPPTYPE_INT32: ADD(Int32, static_cast<int32_t>(number(0)));
  case FieldDescriptor::CPPTYPE_INT64: ADD(Int64, number(0));
  case FieldDescriptor::CPPTYPE_UINT32: ADD(UInt32, static_cast<uint32_t>(number(0)));
  case FieldDescriptor::CPPTYPE_UINT64: ADD(UInt64, static_cast<uint64_t>(number(0)));
  case FieldDescriptor::CPPTYPE_DOUBLE: ADD(Double, static_cast<double>(number(0)));
  case FieldDescriptor::CPPTYPE_FLOAT: ADD(Float, static_cast<float>(number(0)));
  case FieldDescriptor::CPPTYPE_BOOL: ADD(Bool, true);
  case FieldDescriptor::CPPTYPE_ENUM: ADD(EnumValue, static_cast<int>(below(32)));
  case FieldDescriptor::CPPTYPE_STRING: ADD(String, text(""));
  case FieldDescriptor::CPPTYPE_MESSAGE:
    repeated ? r->AddMessage(message, field) : r->MutableMessage(message, field);
  }
#undef ADD
}

void Mutator::mutate() {
  if (places.empty())
    return;
  Place place = anyPlace();
  switch (below(6)) {
  case 0: return rearrange(place);
  case 1: return add(place);
  default: return change(place);
  }
}

/// A ModelProto of the format's description.
static const Message &emptyModel() {
  static google::protobuf::DescriptorPool pool;
  static google::protobuf::DynamicMessageFactory classes(&pool);
  static const Message *model = [] {
    std::ifstream file(CLEAVE_ONNX_DESCRIPTION, std::ios::binary);
    google::protobuf::FileDescriptorSet files;
    if (!files.ParseFromIstream(&file) || files.file_size() != 1 || !pool.BuildFile(files.file(0)))
      abort();
    return classes.GetPrototype(pool.FindMessageTypeByName("onnx.ModelProto"));
  }();
  return *model;
}

// The pools of LLVM's headers poison what they have not given out; the distribution's
// library, which allocates from the same pools, is built without knowing that.
extern "C" const char *__asan_default_options() { return "allow_user_poisoning=0"; }

extern "C" int LLVMFuzzerInitialize(int *, char ***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t limit, unsigned seed) {
  std::unique_ptr<Message> model(emptyModel().New());
  if (seed % 4 == 0 || !model->ParseFromArray(data, static_cast<int>(size)))
    return LLVMFuzzerMutate(data, size, limit);
  for (unsigned i = 0; i <= seed / 4 % 3; ++i)
    Mutator(*model, seed + i).mutate();
  if (model->ByteSizeLong() > limit)
    return LLVMFuzzerMutate(data, size, limit);
  model->SerializeToArray(data, static_cast<int>(limit));
  return model->ByteSizeLong();
}
