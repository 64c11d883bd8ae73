# How targets of the compiler are declared.

# cleave_tablegen(TARGET FILE.td OUTPUT FLAG [OUTPUT FLAG]...)
#   Generates each OUTPUT in the current build folder from FILE.td; TARGET
#   stands for all of them.
function(cleave_tablegen target source)
  set(LLVM_TARGET_DEFINITIONS ${source})
  set(args ${ARGN})
  while(args)
    list(POP_FRONT args output flag)
    string(REPLACE " " ";" flag "${flag}")
    mlir_tablegen(${output} ${flag} EXTRA_INCLUDES
      ${MLIR_INCLUDE_DIRS} ${CMAKE_SOURCE_DIR}/dialects ${CMAKE_CURRENT_SOURCE_DIR})
  endwhile()
  add_public_tablegen_target(${target})
endfunction()

# cleave_library(NAME SOURCES... [DEPENDS GENERATED...] [LINK LIBRARIES...])
#   A static library of the compiler, on top of the MLIR and LLVM of the
#   distribution, which are one shared library each.
function(cleave_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  cleave_compiler_target(${name})
  target_link_libraries(${name} PUBLIC ${ARG_LINK} MLIR LLVM)
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
  cleave_install_library(${name})
endfunction()

# cleave_compiler_target(NAME): headers and flags of code that uses MLIR.
function(cleave_compiler_target name)
  target_include_directories(${name} SYSTEM PUBLIC ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
  target_include_directories(${name} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/dialects>
    $<BUILD_INTERFACE:${CMAKE_BINARY_DIR}/dialects>
    $<BUILD_INTERFACE:${CMAKE_BINARY_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/cleave/dialects>)
  target_compile_features(${name} PUBLIC cxx_std_20)
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wno-unused-parameter)
endfunction()
