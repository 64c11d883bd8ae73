//===- Npy.cpp - arrays written and read back are the same ----------------===//

#include "cleave/Support/Tensor.h"

#include "llvm/Support/FileSystem.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstring>
#include <fstream>

using namespace cleave;

/// A tensor of any type with up to four dimensions, empty ones among them.
static Tensor anyTensor() {
  auto type = static_cast<cleave_type>(*rc::gen::inRange(0, int(CLEAVE_NUM_TYPES)));
  auto rank = *rc::gen::inRange<size_t>(0, 5);
  auto dims = *rc::gen::container<std::vector<int64_t>>(rank, rc::gen::inRange<int64_t>(0, 4));
  Tensor tensor(type, dims);
  for (char &byte : tensor.bytes)
    byte = type == CLEAVE_BOOL ? *rc::gen::inRange<char>(0, 2) : *rc::gen::arbitrary<char>();
  return tensor;
}

static bool same(const Tensor &a, const Tensor &b) {
  return a.type == b.type && a.dims == b.dims && a.bytes == b.bytes;
}

/// Fails the test with the message of an error.
template <typename T> static T need(llvm::Expected<T> value) {
  if (value)
    return std::move(*value);
  ADD_FAILURE() << llvm::toString(value.takeError());
  return T();
}

static std::string reason(llvm::Expected<Tensor> value) {
  return value ? "none" : llvm::toString(value.takeError());
}

namespace {
/// A folder that goes with the test.
struct Folder {
  llvm::SmallString<128> path;
  Folder() { (void)llvm::sys::fs::createUniqueDirectory("cleave-test", path); }
  ~Folder() { (void)llvm::sys::fs::remove_directories(path); }
  std::string at(llvm::StringRef name) const { return (path + "/" + name).str(); }
};
} // namespace

TEST(Npy, RoundTrip) {
  EXPECT_TRUE(rc::check("an array is read as it was written", [] {
    Tensor tensor = anyTensor();
    Tensor again = need(parseNpy(formatNpy(tensor)));
    if (storedType(tensor.type) != tensor.type)
      again.type = tensor.type;
    RC_ASSERT(same(tensor, again));
  }));
}

TEST(Npy, ElementsBeginAt64) {
  EXPECT_TRUE(rc::check("the header fills whole lines of memory", [] {
    Tensor tensor = anyTensor();
    RC_ASSERT((formatNpy(tensor).size() - tensor.bytes.size()) % 64 == 0);
  }));
}

TEST(Npy, CutOff) {
  EXPECT_TRUE(rc::check("no part of an array is an array", [] {
    std::string whole = formatNpy(anyTensor());
    auto length = *rc::gen::inRange<size_t>(0, whole.size());
    RC_ASSERT(reason(parseNpy(llvm::StringRef(whole).take_front(length))) != "none");
  }));
}

TEST(Npz, RoundTrip) {
  Folder folder;
  EXPECT_TRUE(rc::check("an archive is read as it was written", [&] {
    NamedTensors tensors = {{"a", anyTensor()}};
    for (const char *name : {"b/c", "α:0"})
      if (*rc::gen::arbitrary<bool>())
        tensors[name] = anyTensor();
    std::string path = folder.at("t.npz");
    RC_ASSERT(!writeNpz(path, tensors));
    NamedTensors again = need(readTensors(path));
    RC_ASSERT(again.size() == tensors.size());
    for (const auto &[name, tensor] : tensors)
      RC_ASSERT(same(tensor, again.at(name)));
  }));
}

TEST(Npz, FolderOfArrays) {
  Folder folder;
  Tensor floats(CLEAVE_F32, {2}), bits(CLEAVE_BF16, {3});
  ASSERT_FALSE(writeNpy(folder.at("x.npy"), floats));
  ASSERT_FALSE(writeNpy(folder.at("y@bf16.npy"), bits));
  std::ofstream(folder.at("notes.txt")) << "no array";
  NamedTensors tensors = need(readTensors(folder.path));
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_TRUE(same(tensors["x"], floats));
  EXPECT_TRUE(same(tensors["y"], bits));
}

static std::string npy(const std::string &header, const std::string &data = "") {
  std::string text = "\x93NUMPY";
  text += {'\x01', '\x00', static_cast<char>(header.size()), '\x00'};
  return text + header + data;
}

TEST(Npy, ColumnMajorIsTurned) {
  std::string columns;
  for (int8_t value : {1, 4, 2, 5, 3, 6})
    columns += static_cast<char>(value);
  Tensor tensor =
      need(parseNpy(npy("{'descr': '|i1', 'fortran_order': True, 'shape': (2, 3), }", columns)));
  EXPECT_EQ(tensor.bytes, std::vector<char>({1, 2, 3, 4, 5, 6}));
}

TEST(Npy, Refusals) {
  auto of = [](const std::string &header) { return reason(parseNpy(npy(header, "1234"))); };
  EXPECT_EQ(of("{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}"),
            "has element type '>f4', which is not supported");
  EXPECT_EQ(of("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"),
            "has element type '|O', which is not supported");
  EXPECT_EQ(of("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"),
            "has a damaged .npy header");
  EXPECT_EQ(of("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"),
            "holds 4 bytes, want: 8 by its shape");
  EXPECT_EQ(of("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}"),
            "has more elements than memory has addresses");
  EXPECT_EQ(of("{'descr': '<f4'}"), "has a damaged .npy header");
  EXPECT_EQ(reason(parseNpy("text")), "is no .npy array");
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

TEST(Write, NothingIsLeftWhereItCannotBe) {
  Folder folder;
  NamedTensors tensors = {{"x", Tensor(CLEAVE_F32, {2})}};
  llvm::Error error = writeNpz(folder.at("none/t.npz"), tensors);
  EXPECT_EQ(llvm::toString(std::move(error)),
            "cannot write \"" + folder.at("none/t.npz") + "\": No such file or directory");
  error = writeNpz(folder.path, tensors);
  EXPECT_EQ(llvm::toString(std::move(error)),
            "cannot write \"" + folder.path.str().str() +
                "\": it is no regular file; give the name of one, or of none that exists");
}

TEST(Write, ALinkKeepsItsPlace) {
  Folder folder;
  std::ofstream(folder.at("target.npy")) << "old";
  ASSERT_FALSE(llvm::sys::fs::create_link(folder.at("target.npy"), folder.at("link.npy")));
  Tensor tensor(CLEAVE_F32, {2});
  ASSERT_FALSE(writeNpy(folder.at("link.npy"), tensor));
  EXPECT_TRUE(llvm::sys::fs::is_symlink_file(folder.at("link.npy")));
  std::ifstream file(folder.at("target.npy"), std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), {});
  EXPECT_TRUE(same(need(parseNpy(bytes)), tensor));
}
