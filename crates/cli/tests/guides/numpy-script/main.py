import numpy as np

print(int(np.arange(10).reshape(2, 5).sum(axis=1)[1]), np.__version__)
