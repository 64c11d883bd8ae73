# Where headers, ptxas and libdevice of CUDA are: a toolkit that CUDA_PATH or CUDA_HOME
# names, else the packages of requirements.txt. Nothing of it is linked or shipped.
#   CLEAVE_CUDA_INCLUDE   the folder of cuda.h
#   CLEAVE_NCCL_INCLUDE   the folder of nccl.h
#   CLEAVE_PTXAS          the program
#   CLEAVE_LIBDEVICE      libdevice.10.bc
file(GLOB places ${CMAKE_SOURCE_DIR}/.venv/lib/python*/site-packages/nvidia/cu13
     ${CMAKE_SOURCE_DIR}/.venv/lib/python*/site-packages/nvidia/nccl)
list(PREPEND places $ENV{CUDA_PATH} $ENV{CUDA_HOME})

# cleave_cuda_find(KIND VARIABLE NAME SUFFIX WHAT)
macro(cleave_cuda_find kind variable name suffix what)
  cmake_language(CALL find_${kind} ${variable} NAMES ${name} PATHS ${places}
                 PATH_SUFFIXES ${suffix} NO_DEFAULT_PATH DOC ${what})
  if(NOT ${variable})
    message(FATAL_ERROR "${name} is in none of: ${places}; "
                        "run `make deps`, or set CUDA_HOME to a toolkit of CUDA 13")
  endif()
endmacro()
cleave_cuda_find(path CLEAVE_CUDA_INCLUDE cuda.h include "folder of cuda.h")
cleave_cuda_find(path CLEAVE_NCCL_INCLUDE nccl.h include "folder of nccl.h")
cleave_cuda_find(program CLEAVE_PTXAS ptxas bin "assembler of PTX")
cleave_cuda_find(file CLEAVE_LIBDEVICE libdevice.10.bc nvvm/libdevice "CUDA's library of math")

# Where the programs of this build find it, when no variable names another.
cmake_path(GET CLEAVE_LIBDEVICE PARENT_PATH toolkit)
file(REAL_PATH ${toolkit}/../.. toolkit)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
file(CREATE_LINK ${toolkit} ${CMAKE_BINARY_DIR}/lib/cleave-cuda SYMBOLIC)
