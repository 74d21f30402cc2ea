r"""The article, equation by equation: algebra on tensors, a value beside its derivative, samples as columns.

Nothing here uses autograd. The same functions serve one network, a stack of networks (leading dimensions) and NumPy
arrays of symbols, which is how the tests prove them.
"""

from nnmath.equations.activations import ACTIVATIONS as ACTIVATIONS
from nnmath.equations.activations import IDENTITY as IDENTITY
from nnmath.equations.activations import RELU as RELU
from nnmath.equations.activations import SIGMOID as SIGMOID
from nnmath.equations.activations import TANH as TANH
from nnmath.equations.activations import Activation as Activation
from nnmath.equations.activations import ActivationName as ActivationName
from nnmath.equations.activations import identity as identity
from nnmath.equations.activations import identity_derivative as identity_derivative
from nnmath.equations.activations import identity_derivative_from_output as identity_derivative_from_output
from nnmath.equations.activations import relu as relu
from nnmath.equations.activations import relu_derivative as relu_derivative
from nnmath.equations.activations import relu_derivative_from_output as relu_derivative_from_output
from nnmath.equations.activations import sigmoid as sigmoid
from nnmath.equations.activations import sigmoid_derivative as sigmoid_derivative
from nnmath.equations.activations import sigmoid_derivative_from_output as sigmoid_derivative_from_output
from nnmath.equations.activations import tanh as tanh
from nnmath.equations.activations import tanh_derivative as tanh_derivative
from nnmath.equations.activations import tanh_derivative_from_output as tanh_derivative_from_output
from nnmath.equations.approximation import staircase as staircase
from nnmath.equations.backpropagation import Layer as Layer
from nnmath.equations.backpropagation import backward as backward
from nnmath.equations.backpropagation import bias_gradient as bias_gradient
from nnmath.equations.backpropagation import delta as delta
from nnmath.equations.backpropagation import error as error
from nnmath.equations.backpropagation import error_gradient as error_gradient
from nnmath.equations.backpropagation import forward as forward
from nnmath.equations.backpropagation import hidden_delta as hidden_delta
from nnmath.equations.backpropagation import input_gradient as input_gradient
from nnmath.equations.backpropagation import number_of_parameters as number_of_parameters
from nnmath.equations.backpropagation import output_delta as output_delta
from nnmath.equations.backpropagation import sgd_step as sgd_step
from nnmath.equations.backpropagation import training_step as training_step
from nnmath.equations.backpropagation import weight_gradient as weight_gradient
from nnmath.equations.backpropagation import zero_velocities as zero_velocities
from nnmath.equations.cost import half_mse as half_mse
from nnmath.equations.cost import half_mse_gradient as half_mse_gradient
from nnmath.equations.cost import half_mse_hessian as half_mse_hessian
from nnmath.equations.cost import linear_model as linear_model
from nnmath.equations.cost import squared_error as squared_error
from nnmath.equations.descent import cosine_annealing as cosine_annealing
from nnmath.equations.descent import critical_learning_rate as critical_learning_rate
from nnmath.equations.descent import gradient_step as gradient_step
from nnmath.equations.descent import momentum_update as momentum_update
from nnmath.equations.perceptron import fires as fires
from nnmath.equations.perceptron import perceptron as perceptron
from nnmath.equations.perceptron import step as step
from nnmath.equations.perceptron import weighted_sum as weighted_sum
