#include <Python.h>

static PyObject *hello(PyObject *self, PyObject *arguments)
{
    return PyUnicode_FromString("hello from C");
}

static PyMethodDef methods[] = {{"hello", hello, METH_NOARGS, "Says it."}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "hello", NULL, -1, methods};

PyMODINIT_FUNC PyInit_hello(void)
{
    return PyModule_Create(&module);
}
